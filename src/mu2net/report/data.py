"""Everything that the pictures of a system show, as one typed document; it becomes JSON and nothing else."""

from __future__ import annotations

from typing import Literal

from mu2net.report.facts import Facts
from mu2net.report.palette import OwnerFacts
from mu2net.report.quality_facts import QualityFacts

FORMAT_VERSION: Literal[2] = 2


class Interval(Facts):
    """A share with its 95 % interval.

    Args:
        value: The share, in [0, 1].
        low: Lower end, in [0, 1].
        high: Upper end, in [0, 1].
    """

    value: float
    low: float
    high: float


class ComponentFacts(Facts):
    """A component that a published path used.

    Args:
        digest: Its SHA-256.
        slot: Name of the slot that it fills.
        kind: What is computed there.
        num_params: Its parameters.
        trained_by: The task whose data trained it last; ``"root"`` for the root's.
        source: Index of the component that it was cloned from, perhaps through others that are not shown
            (those of children that were never published); ``None`` where it began anew.
        is_private: Whether a private task trained it.
    """

    digest: str
    slot: str
    kind: str
    num_params: int
    trained_by: str
    source: int | None
    is_private: bool


class StepFacts(Facts):
    """A publication: one step of the system's growth.

    Args:
        at: When, in ISO 8601.
        task: The task.
        path: The path that became live.
        components: Indices of its components, from the image to the head.
        validation: Its validation accuracy, in [0, 1].
        test: Its test accuracy, in [0, 1].
        added_params: Parameters that were trained for the task.
        flops: FLOPs of one prediction.
        seconds: Time that was spent on the task's cycles up to here, in seconds.
        total_params: Parameters of the root and all live paths afterwards, every component once.
        total_bytes: Size of their components' files that are still there, in bytes.
        live_tasks: Tasks that have a live path afterwards.
    """

    at: str
    task: str
    path: str
    components: tuple[int, ...]
    validation: float
    test: float | None
    added_params: int
    flops: int
    seconds: float
    total_params: int
    total_bytes: int
    live_tasks: int


class TaskFacts(Facts):
    """A row of the leaderboard.

    Args:
        name: The task.
        classes: Number of classes.
        is_private: Whether its knowledge stays its own.
        num_train: Training images.
        num_validation: Validation images.
        num_test: Test images.
        path: Its live path; ``None`` where it was never evolved.
        components: Indices of that path's components, from the image to the head.
        agent: The agent that found it.
        validation: Its validation accuracy.
        test: Its test accuracy.
        num_params: Parameters of the whole path.
        added_params: Parameters that were trained for it.
        accounted_params: Parameters charged to it: each component's, divided by the tasks that use it.
        flops: FLOPs of one prediction.
        seconds: Time spent on its cycles, in seconds.
        children: Children that were sampled for it.
        reuse: Share of its parameters by the task that trained them, its own included.
        influence: Tasks whose data shaped it, sorted.
        hparams: Hyperparameters of its path.
    """

    name: str
    classes: int
    is_private: bool
    num_train: int
    num_validation: int
    num_test: int
    path: str | None
    components: tuple[int, ...]
    agent: str | None
    validation: Interval | None
    test: Interval | None
    num_params: int
    added_params: int
    accounted_params: float
    flops: int
    seconds: float
    children: int
    reuse: dict[str, float]
    influence: tuple[str, ...]
    hparams: dict[str, int | float | str | bool]


class MutationFacts(Facts):
    """A change that a child drew.

    Args:
        name: What, for instance ``"clone:block_03"`` or ``"hp:opt_lr"``.
        before: A hyperparameter's value before.
        after: Its value after.
        is_forced: Whether the method demanded it.
    """

    name: str
    before: int | float | str | bool | None
    after: int | float | str | bool | None
    is_forced: bool


class ChildFacts(Facts):
    """A sampled child.

    Args:
        id: Its path.
        cycle: Number of the cycle.
        generation: Number of the generation.
        parent: The path that it was cloned from.
        quality: Best validation accuracy, in [0, 1].
        score: What its cycle chose by: its quality, less what size and compute cost (docs/method.md: score), with the
            sharers of its components when the cycle began; private ones count where private tasks are shown.
        change: Its quality minus its parent's, where both were measured on the same task; ``None`` elsewhere.
        validations: Validation accuracy after every interval.
        end: Time of the task's cycles that was spent when it was finished, in seconds: earlier cycles as a whole, and
            of its own the share of all children up to it.
        seconds: Time that it took itself, in seconds.
        trained_params: Parameters that it trained.
        accounted_params: Parameters charged to it: each component's, divided by the tasks that used it when the cycle
            began, its own task included.
        flops: FLOPs of one prediction.
        num_params: Parameters of the whole path.
        is_kept: Whether it joined the population.
        is_live: Whether it serves the task.
        mutations: What it drew.
        hparams: Its hyperparameters.
    """

    id: str
    cycle: int
    generation: int
    parent: str
    quality: float
    score: float
    change: float | None
    validations: tuple[float, ...]
    end: float
    seconds: float
    trained_params: int
    accounted_params: float
    flops: int
    num_params: int
    is_kept: bool
    is_live: bool
    mutations: tuple[MutationFacts, ...]
    hparams: dict[str, int | float | str | bool]


class EffectFacts(Facts):
    """What a kind of mutation did for the children that drew it.

    Args:
        kind: For instance ``"hp:opt_lr"``, or ``"clone"`` for all clones.
        count: Children that drew it and whose parent was measured on the same task.
        mean: Mean change of quality from parent to child.
        low: Lower end of the 95 % interval of the mean.
        high: Upper end.
    """

    kind: str
    count: int
    mean: float
    low: float
    high: float


class SearchFacts(Facts):
    """How the search of a task went.

    Args:
        task: The task.
        children: Every sampled child, in the order of sampling.
        lineage: The live path's ids, from the oldest ancestor of this task to itself.
        effects: What mutations did, the best first.
    """

    task: str
    children: tuple[ChildFacts, ...]
    lineage: tuple[str, ...]
    effects: tuple[EffectFacts, ...]


class RivalFacts(Facts):
    """A child of the search that is replayed.

    Args:
        id: Its path.
        generation: Number of the generation.
        quality: Best validation accuracy, in [0, 1].
        score: What its cycle chose by, as in :class:`ChildFacts`.
        is_kept: Whether it joined the population.
        components: Indices of its components, from the image to the head; from the number of the report's own
            components on they are those of the replay.
    """

    id: str
    generation: int
    quality: float
    score: float
    is_kept: bool
    components: tuple[int, ...]


class ReplayFacts(Facts):
    """The last search, generation by generation.

    Args:
        task: The task.
        cycle: Number of its cycle.
        step: Publications before it: the network that it began with.
        before: Score of the task's path that was live when it began; ``None`` where there was none.
        components: What no published path uses: components that its children trained.
        children: Its children, in the order of sampling.
    """

    task: str
    cycle: int
    step: int
    before: float | None
    components: tuple[ComponentFacts, ...]
    children: tuple[RivalFacts, ...]


class SharingFacts(Facts):
    """Who uses whose parameters.

    Args:
        users: Tasks with a live path: the rows.
        owners: The root, and tasks that trained something that is used: the columns.
        params: Parameters of a row's path that the column's task trained.
    """

    users: tuple[str, ...]
    owners: tuple[str, ...]
    params: tuple[tuple[int, ...], ...]


class SystemFacts(Facts):
    """The system as a whole.

    Args:
        root: The root.
        root_params: Parameters of one copy of it.
        total_params: Parameters of the root and all live paths, every component once.
        live_bytes: Size of their components' files, in bytes.
        disk_bytes: Size of all files of components, momentum and probes, those of the history included, in bytes; as in
            ``mu2net du``. ``None`` where private tasks are left out.
        seconds: Time spent on all cycles, in seconds.
    """

    root: str
    root_params: int
    total_params: int
    live_bytes: int
    disk_bytes: int | None
    seconds: float


class Report(Facts):
    """Everything that the pictures show.

    Args:
        format_version: Version of this document.
        made_by: Version of mu2net.
        made_at: When, in ISO 8601.
        system: The system as a whole.
        owners: How the root and the tasks are told apart, in the order of the tasks.
        slots: All slots of published paths, from the image to the head.
        components: All components of the root and of published paths.
        root: Indices of the root's components.
        tasks: The leaderboard, in the order in which tasks were added.
        growth: Publications, oldest first.
        searches: The search of every task that has children.
        replay: The last search; ``None`` where its children are not known.
        sharing: Who uses whose parameters.
        quality: What live paths get right and wrong, of those of which that was measured.
        left_out: What is not in it, because the document would be too large: tasks, for their searches, and
            other things in words.
    """

    format_version: Literal[2] = FORMAT_VERSION
    made_by: str
    made_at: str
    system: SystemFacts
    owners: tuple[OwnerFacts, ...]
    slots: tuple[str, ...]
    components: tuple[ComponentFacts, ...]
    root: tuple[int, ...]
    tasks: tuple[TaskFacts, ...]
    growth: tuple[StepFacts, ...]
    searches: tuple[SearchFacts, ...]
    replay: ReplayFacts | None = None
    sharing: SharingFacts
    quality: tuple[QualityFacts, ...] = ()
    left_out: tuple[str, ...] = ()
