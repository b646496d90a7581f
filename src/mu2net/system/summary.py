"""What a system answers: plain values that print, compare and turn into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mu2net.core.path import Mutation, Path, Value


@dataclass(frozen=True)
class Answer:
    """Base of all answers."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TaskSummary(Answer):
    """A row of the leaderboard.

    Args:
        name: Name of the task.
        classes: Class names.
        is_private: Whether its knowledge stays its own.
        source: Where its images come from.
        num_train: Training images.
        num_validation: Validation images.
        num_test: Test images.
        num_skipped: Images that do not decode and were left out.
        path_id: Its live path; ``None`` while it was never evolved.
        agent: The agent that made the path.
        validation: Top-1 accuracy on the validation split, in [0, 1].
        test: Top-1 accuracy on the test split, in [0, 1].
        num_params: Parameters of the whole path.
        added_params: Parameters that were trained for this task.
        accounted_params: Parameters charged to it: each component's, divided by the tasks that use it.
        reused: Share of the path's parameters that come from the root or from other tasks, in [0, 1].
        reused_from: The same share by donor; ``"root"`` is the root.
        flops: FLOPs of one prediction, batch 1.
        image_size: Side of the square input, in pixels.
        precision: Arithmetic that the path was trained with and runs in.
        children: Children sampled for the task so far.
        seconds: Wall-clock seconds spent on the task so far.
    """

    name: str
    classes: tuple[str, ...]
    is_private: bool
    source: str
    num_train: int
    num_validation: int
    num_test: int
    num_skipped: int = 0
    path_id: str | None = None
    agent: str | None = None
    validation: float | None = None
    test: float | None = None
    num_params: int = 0
    added_params: int = 0
    accounted_params: float = 0.0
    reused: float = 0.0
    reused_from: Mapping[str, float] | None = None
    flops: int = 0
    image_size: int | None = None
    precision: str | None = None
    children: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class SlotSummary(Answer):
    """A slot of a path: whose component is there.

    Args:
        slot: Name of the slot.
        kind: What is computed there.
        digest: SHA-256 of the component.
        num_params: Parameters of the component.
        trained_by: The task whose data trained it last, or ``"root"``.
        used_by: The tasks whose live path uses it.
    """

    slot: str
    kind: str
    digest: str
    num_params: int
    trained_by: str
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class PathSummary(Answer):
    """A path: its chain, its hyperparameters and its lineage.

    Args:
        id: The path.
        task: Its task.
        agent: The agent that made it.
        lineage: Ids from its parent back to the root.
        slots: The chain, in the order of computation.
        hparams: Hyperparameters.
        mutations: What was drawn for it.
        validation: Top-1 accuracy on the validation split, in [0, 1].
        test: Top-1 accuracy on the test split, in [0, 1].
    """

    id: str
    task: str
    agent: str
    lineage: tuple[str, ...]
    slots: tuple[SlotSummary, ...]
    hparams: Mapping[str, Value]
    mutations: tuple[Mutation, ...]
    validation: float | None
    test: float | None


@dataclass(frozen=True)
class ChildSummary(Answer):
    """One sampled child of a task's history.

    Args:
        id: The child.
        cycle: Number of the cycle, from 0.
        generation: Number of the generation in its cycle, from 0.
        parent_id: The path that it was cloned from.
        agent: The agent that made it.
        quality: Best validation accuracy, in [0, 1].
        validations: Validation accuracy after each interval.
        examples: Training examples.
        seconds: Wall-clock seconds.
        num_trained: Parameters that it trained.
        is_kept: Whether it joined the population.
        is_live: Whether it is the task's live path.
        mutations: What was drawn for it.
        hparams: Hyperparameters.
    """

    id: str
    cycle: int
    generation: int
    parent_id: str
    agent: str
    quality: float
    validations: tuple[float, ...]
    examples: int
    seconds: float
    num_trained: int
    is_kept: bool
    is_live: bool
    mutations: tuple[Mutation, ...]
    hparams: Mapping[str, Value]


@dataclass(frozen=True)
class Prediction(Answer):
    """What a path says about one image.

    Args:
        task: The task.
        image: Name of the image: its file, or ``image[INDEX]``.
        label: The most probable class.
        probability: Its probability, in [0, 1].
        top: The most probable classes with their probabilities, best first.
    """

    task: str
    image: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class EvaluationSummary(Answer):
    """Accuracy of a live path, measured anew.

    Args:
        task: The task.
        path_id: Its live path.
        split: Which split was evaluated.
        num_images: Images of the split.
        accuracy: Top-1 accuracy, in [0, 1].
        recorded: The accuracy that was recorded when the path was published.
        per_class: Accuracy per class; classes without images are left out.
    """

    task: str
    path_id: str
    split: str
    num_images: int
    accuracy: float
    recorded: float | None
    per_class: Mapping[str, float]


ProbeCheck = Literal["bit-equal", "within 1e-5", "changed", "missing", "not run"]
"""How a path's probe logits compare with those recorded when it was published."""


@dataclass(frozen=True)
class ProbeSummary(Answer):
    """The probe of one live path.

    Args:
        task: The task.
        path_id: Its live path.
        check: What the comparison said.
        num_logits: Logits that were compared.
        max_difference: Largest absolute difference.
        reason: Why bits could not be compared, or what went wrong.
    """

    task: str
    path_id: str
    check: ProbeCheck
    num_logits: int
    max_difference: float
    reason: str = ""


@dataclass(frozen=True)
class Verification(Answer):
    """What ``verify`` found.

    Args:
        num_components: Files of the component folder that were hashed again, or in a quick check looked at.
        num_bytes: Their bytes.
        damages: One sentence per damaged file (component, momentum, probe, registry or configuration); each names it
            and the tasks that use it.
        probes: The probe of every live path; none where not everything was read.
        depth: ``full``, ``sample`` or ``quick``.
        damaged_files: Digests of the damaged files of the component folder.
    """

    num_components: int
    num_bytes: int
    damages: tuple[str, ...]
    probes: tuple[ProbeSummary, ...]
    depth: str = "full"
    damaged_files: tuple[str, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether every digest is equal and every probe gives the recorded logits."""
        return not self.damages and all(probe.check in ("bit-equal", "within 1e-5") for probe in self.probes)

    def sentence(self) -> str:
        """Return one line that says what was proved, or what is wrong."""
        tasks = len(self.probes)
        plural = "" if tasks == 1 else "s"
        if not self.is_intact:
            files = "1 file is" if len(self.damages) == 1 else f"{len(self.damages)} files are"
            bad = [probe.task for probe in self.probes if probe.check not in ("bit-equal", "within 1e-5")]
            changed = f"; probe logits not confirmed for: {', '.join(bad)}" if bad else ""
            return f"DAMAGED: {files} not what was published{changed}"
        equal = sum(probe.check == "bit-equal" for probe in self.probes)
        logits = sum(probe.num_logits for probe in self.probes)
        if self.depth == "quick":
            return (
                f"Nothing is missing: {self.num_components} files have the sizes that the registry says; none was read"
            )
        if self.depth == "sample":
            return (
                f"Intact: the {self.num_components} files that were read hash to their names; probes were not computed"
            )
        if not tasks:
            return f"Intact: all {self.num_components} files hash to their names (no task yet)"
        how = "bit-equal" if equal == tasks else f"equal within 1e-5 ({equal} of {tasks} tasks bit-equal)"
        return (
            f"Nothing was forgotten: {self.num_components} files of {tasks} task{plural} hash to their names, and "
            f"all {logits} probe logits are {how} to those recorded at publication"
        )


def reuse_by_donor(path: Path) -> dict[str, float]:
    """Return the share of a path's parameters by the task that trained them; ``"root"`` is the root.

    Args:
        path: A path of a task; what its own task trained is left out.
    """
    total = path.num_params or 1
    shares: dict[str, float] = {}
    for component in path.components:
        if component.task != path.task:
            donor = component.task or "root"
            shares[donor] = shares.get(donor, 0.0) + component.num_params / total
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def added_parameters(path: Path) -> int:
    """Return the parameters of a path that were trained for its own task."""
    return sum(component.num_params for component in path.components if component.task == path.task)
