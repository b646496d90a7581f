from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch

from mu2net.core.selection import count_picks
from mu2net.errors import BudgetError, ConfigError
from mu2net.nn.precision import choose_device
from mu2net.nn.roots import backbone_from_config
from mu2net.search import cycle
from mu2net.search.allotment import Allotment
from mu2net.search.arithmetic import path_compute
from mu2net.search.budget import Budget, ChildBudget, Plan
from mu2net.search.clock import Clock
from mu2net.search.cycle import Cycle
from mu2net.search.events import (
    ChildPlanned,
    ChildRecorded,
    CycleStarted,
    GenerationStarted,
    Published,
    Publishing,
)
from mu2net.search.executor import LocalExecutor
from mu2net.search.probe import check_probe
from mu2net.search.publication import load_chain
from mu2net.store.store import Store
from mu2net.train.events import IntervalDone, TrainingStopped

EVOLVING = ("munet", "mu2net", "mu2net-plus")
AGENTS = (*EVOLVING, "finetune", "linear", "freeze:1", "adapters:8")


def snapshot(store, task):
    """Everything about a task's search that must not depend on interruptions; not how long it took."""
    return [
        (child.path.id, child.path.digests, child.path.hparams, child.path.metrics.validations, child.is_kept)
        for child in store.children(task)
    ], store.live_path(task).chain


@dataclass(frozen=True)
class Graded(LocalExecutor):
    """Trains as ever, and then says what the accuracies were: the next ones of a list."""

    qualities: list[float] = field(default_factory=list)

    def submit(self, groups, observer, should_stop):
        for child in super().submit(groups, observer, should_stop):
            yield replace(child, metrics=replace(child.metrics, quality=self.qualities.pop(0)))


def probe_is_bit_equal(store, path):
    device, backbone = choose_device("cpu"), backbone_from_config(store.config.backbone)
    tensors, environment = store.probe(path.id)
    chain = load_chain(store, backbone, path, device)
    return check_probe(chain, tensors, environment, path_compute(backbone, path, device)).is_bit_equal


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_publishes_its_best_child(lab, agent):
    path = lab.run("one", agent=agent, examples_per_validation=32)
    children = lab.store.children("one")
    assert [child.path.id for child in children] == ["one/0/0/0", "one/0/0/1"]
    assert {child.path.agent for child in children} == {agent}
    assert path.quality == max(child.path.quality for child in children)
    assert path == lab.store.live_path("one")
    assert 0 <= path.metrics.test <= 1
    assert [child.path.metrics.test for child in children if child.path.id != path.id] == [None]
    assert lab.store.running_cycle("one") is None
    assert lab.store.cycles("one")[0].state == "published"


def test_it_tells_everything_in_order(lab):
    path = lab.run("one", children=3)
    told = [event for event in lab.events if not isinstance(event, IntervalDone)]
    kinds = [type(event) for event in told if type(event).__module__ == "mu2net.search.events"]
    first, rest = [GenerationStarted, ChildRecorded, ChildRecorded], [GenerationStarted, ChildRecorded]
    known = [kind for kind in kinds if kind.__name__ != "Preparing"]
    assert known == [CycleStarted, ChildPlanned, *first, *rest, Publishing, Published]
    assert [event.children for event in lab.told(GenerationStarted)] == [("one/0/0/0", "one/0/0/1"), ("one/0/1/0",)]
    (published,) = lab.told(Published)
    assert published.path == path
    assert published.is_new
    assert published.score == path.quality
    bests = [event for event in lab.told(ChildRecorded) if event.is_best]
    assert bests[-1].path.id == path.id


def test_the_same_seed_gives_the_same_bits_and_another_does_not(lab, make_lab, template, tmp_path):
    lab.run("one", children=3)
    again = make_lab(Store.open(shutil.copytree(template, tmp_path / "again")))
    again.run("one", children=3)
    assert snapshot(again.store, "one") == snapshot(lab.store, "one")
    other = make_lab(Store.open(shutil.copytree(template, tmp_path / "other")))
    other.run("one", children=3, seed=6)
    assert snapshot(other.store, "one") != snapshot(lab.store, "one")


def test_a_second_task_shares_components_of_the_first_and_changes_nothing_of_it(lab):
    first = lab.run("one", agent="finetune")
    donors = set()
    for _ in range(3):
        second = lab.run("two", children=6)
        donors |= {component.task for component in second.components}
        assert lab.store.live_path("one") == first
        assert probe_is_bit_equal(lab.store, first)
        assert probe_is_bit_equal(lab.store, second)
    tried = {component.task for path in lab.store.history("two") for component in path.components}
    assert tried == {None, "one", "two"}
    heads = [path.component("head") for path in lab.store.history("two")]
    assert {head.task for head in heads} == {"two"}


def test_a_path_that_nothing_beats_stays_live_with_its_test_accuracy_and_probe(lab):
    lab.executor = Graded(lab.store, qualities=[0.1, 0.2, 0.9, 0.3, 0.85, 0.5])
    first = lab.run("one", children=4)
    probe = lab.store.probe_record(first.id)
    again = lab.run("one", children=2)
    assert again.id == first.id
    assert again.metrics == first.metrics
    assert lab.store.probe_record(first.id) == probe
    assert lab.told(Published)[-1].is_new is False
    assert [path.id for path in lab.store.live_paths()] == [first.id]
    assert [cycle.state for cycle in lab.store.cycles("one")] == ["published", "published"]
    assert len(lab.store.history("one")) == 6


def test_a_second_cycle_replaces_the_path_it_beats_and_clones_what_only_the_task_uses(lab):
    lab.executor = Graded(lab.store, qualities=[0.1, 0.2, 0.21, 0.3, 0.22, 0.4, 0.23, 0.5])
    first = lab.run("one", children=2)
    second = lab.run("one", children=6)
    assert second.quality == 0.5
    assert second.id.startswith("one/1/")
    states = {child.path.id: child.state for child in lab.store.children("one")}
    assert states[first.id] == "retired"
    assert list(states.values()).count("live") == 1
    own = [path for path in lab.store.history("one", 1) if path.parent_id == first.id]
    assert own, "no child descends from the task's own path"
    assert not {c.digest for c in first.components if c.task == "one"} & {d for path in own for d in path.digests}


def test_picks_of_earlier_cycles_count(lab):
    """muNet visits every seed once, unmutated: not once per cycle."""
    lab.run("one", agent="munet")
    lab.run("one", agent="munet")
    unmutated = [
        child.path.id
        for child in lab.store.children("one")
        if child.proposal.origin == "seed" and not any(m.name == "clone:norm" for m in child.path.mutations)
    ]
    assert unmutated == ["one/0/0/0"]
    picks = count_picks(lab.store.history("one"), "one", "munet")
    assert picks["root"] < 4


def test_what_is_kept_was_compared_with_its_own_parent(lab):
    lab.executor = Graded(lab.store, qualities=[0.5, 0.4, 0.45, 0.5, 0.3, 0.6, 0.2, 0.7])
    lab.run("one", children=8)
    quality = {path.id: path.quality for path in lab.store.history("one")}
    for child in lab.store.children("one"):
        parent = child.path.parent_id
        assert child.is_kept == (parent == "root" or child.path.quality >= quality[parent])
    assert {child.is_kept for child in lab.store.children("one")} == {True, False}


@pytest.mark.parametrize("agent", [*EVOLVING, "finetune"])
def test_no_agent_descends_from_a_private_path(lab, new_task, pictures, tmp_path, agent):
    new_task(lab.store, "secret", pictures(tmp_path / "secret", seed=7), is_private=True)
    secret = lab.run("secret", agent="finetune")
    own = {component.digest for component in secret.components if component.task == "secret"}
    lab.store = Store.open(lab.store.directory)
    size = 8 if agent in EVOLVING else 2
    lab.run("one", children=size, generation_size=size, agent=agent, num_validations=1, examples_per_validation=16)
    for path in lab.store.history("one"):
        assert not path.parent_id.startswith("secret")
        assert not own & set(path.digests)


class TestBudgets:
    def test_children(self, lab):
        lab.run("one", children=5)
        assert len(lab.store.history("one")) == 5

    def test_examples(self, lab):
        path = lab.cycle("one", Budget(examples=230), examples_per_validation=48, num_validations=1).run()
        history = lab.store.history("one")
        assert len(history) == 4
        assert sum(child.metrics.examples for child in history) <= 230
        assert path.id in {child.id for child in history}

    def test_examples_are_shared_out_where_no_interval_is_given(self, lab):
        lab.cycle("one", Budget(examples=8 * 40), examples_per_validation=None, num_validations=2).run()
        (planned,) = lab.told(ChildPlanned)
        assert planned.budget.examples == 40
        history = lab.store.history("one")
        assert len(history) >= 8
        assert sum(child.metrics.examples for child in history) <= 8 * 40

    def test_without_any_other_bound_an_interval_is_one_pass(self, lab):
        lab.cycle("one", Budget(children=2), examples_per_validation=None).run()
        assert lab.told(ChildPlanned)[0].budget.examples_per_validation == 48

    def test_an_interval_is_one_pass_at_most(self, lab):
        lab.run("one", examples_per_validation=10_000)
        assert lab.told(ChildPlanned)[0].budget.examples_per_validation == 48

    def test_time(self, lab):
        path = lab.cycle("one", Budget(seconds=4.0), examples_per_validation=None).run()
        history = lab.store.history("one")
        assert history
        assert path.quality == max(child.quality for child in history)
        assert 0 < lab.store.cycles("one")[0].spent_seconds < 60

    def test_the_first_bound_ends_the_cycle(self, lab):
        lab.cycle("one", Budget(seconds=600, children=2, examples=10**9)).run()
        assert len(lab.store.history("one")) == 2

    def test_a_baseline_run_may_spend_what_a_cycle_may(self, lab):
        lab.run("one", children=3, agent="linear")
        assert [path.metrics.examples for path in lab.store.history("one")] == [2 * 48 * 3] * 2

    def test_a_tuned_baseline_divides_examples_among_trials_and_a_run(self, lab):
        path = lab.cycle("one", Budget(examples=48 * 12), agent="tuned:finetune", examples_per_validation=None).run()
        *trials, run = lab.store.history("one")
        assert len({trial.hparams["opt_lr"] for trial in trials}) == len(trials) == 4
        assert run.hparams["opt_lr"] in {trial.hparams["opt_lr"] for trial in trials}
        spent = [child.metrics.examples for child in (*trials, run)]
        assert spent[:4] == [spent[0]] * 4
        assert sum(spent) <= 48 * 12
        assert run.metrics.examples > 4 * spent[0]
        assert path.quality == max(child.quality for child in (*trials, run))

    @pytest.mark.parametrize("agent", ["tuned:finetune", "tuned:linear"])
    def test_a_tuned_baseline_within_a_time(self, lab, agent):
        lab.cycle("one", Budget(seconds=6.0), agent=agent, examples_per_validation=None).run()
        history = lab.store.history("one")
        assert len(history) == (5 if agent == "tuned:finetune" else 12)
        assert 0 < lab.store.cycles("one")[0].spent_seconds < 60

    def test_baseline_runs_differ_by_their_seed(self, lab):
        lab.run("one", agent="linear")
        one, two = lab.store.history("one")
        assert one.hparams == two.hparams
        assert one.digests != two.digests

    @pytest.mark.parametrize("agent", ["mu2net", "linear"])
    @pytest.mark.parametrize("budget", [Budget(seconds=1e-3), Budget(examples=3)])
    def test_one_that_is_too_small_leaves_nothing_behind(self, lab, agent, budget):
        with pytest.raises(
            BudgetError, match=r"too small for one interval .16 .*nothing was published.* Give at least"
        ):
            lab.cycle("one", budget, agent=agent, examples_per_validation=None)
        assert lab.store.cycles("one") == []
        assert lab.store.live_path("one") is None

    def test_the_time_that_is_said_to_be_needed_is_enough(self, lab, monkeypatch):
        """Of this process: what others take from it, and how long the disk lets it wait, is no promise of ours."""
        monkeypatch.setattr(time, "perf_counter", time.process_time)
        with pytest.raises(BudgetError) as told:
            lab.cycle("one", Budget(seconds=1e-3), examples_per_validation=None)
        needed = float(str(told.value).rpartition("--time ")[2].removesuffix("s"))
        assert lab.cycle("one", Budget(seconds=needed), examples_per_validation=None).run()

    def test_one_that_ends_before_the_first_child_gives_the_cycle_up(self, lab):
        with pytest.raises(BudgetError, match="ended before a child was trained; nothing was published"):
            lab.cycle("one", Budget(seconds=1e-3)).run()
        assert lab.store.running_cycle("one") is None
        assert lab.store.live_path("one") is None


class LastFirst(LocalExecutor):
    """Trains as ever, and yields the last child first."""

    def submit(self, groups, observer, should_stop):
        return reversed(list(super().submit(groups, observer, should_stop)))


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def killer(kind, number):
    """Ends everything at the ``number``-th event of a kind."""
    seen = []

    def watch(event):
        seen.extend([event] * isinstance(event, kind))
        if len(seen) == number:
            seen.append(event)
            raise Killed

    return watch


MOMENTS = [
    (GenerationStarted, 1),
    (IntervalDone, 3),
    (ChildRecorded, 1),
    (ChildRecorded, 2),
    (ChildRecorded, 3),
    (GenerationStarted, 3),
    (ChildRecorded, 5),
    (Publishing, 1),
]


class TestResume:
    @pytest.mark.parametrize("agent", ["munet", "mu2net-plus", "linear", "tuned:finetune"])
    def test_ends_as_if_never_interrupted(self, lab, make_lab, template, tmp_path, agent):
        for each in (lab, whole := make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))):
            each.run("two", agent="finetune")
        whole.run("one", children=5, agent=agent)
        budget = Budget(children=5)
        lab.watch = killer(*MOMENTS[0])
        with pytest.raises(Killed):
            lab.cycle("one", budget, agent=agent).run()
        for moment in MOMENTS[1:]:
            lab.watch = killer(*moment)
            try:
                lab.resume("one", budget)
            except Killed:
                continue
            break  # everything before this moment was done already
        else:
            lab.watch = lambda event: None
            lab.resume("one", budget)
        assert snapshot(lab.store, "one") == snapshot(whole.store, "one")
        assert len(lab.store.cycles("one")) == 1

    def test_a_generation_recorded_with_gaps_keeps_what_is_recorded(self, lab, make_lab, template, tmp_path):
        whole = make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))
        whole.run("one", children=4, generation_size=4)
        lab.executor = LastFirst(lab.store)
        lab.watch = killer(ChildRecorded, 1)
        with pytest.raises(Killed):
            lab.cycle("one", Budget(children=4), generation_size=4).run()
        assert [path.id for path in lab.store.history("one")] == ["one/0/0/3"]
        lab.watch = lambda event: None
        lab.resume("one", Budget(children=4))
        assert snapshot(lab.store, "one") == snapshot(whole.store, "one")

    def test_a_generation_that_others_followed_is_not_extended(self, lab, monkeypatch):
        lab.watch = killer(ChildRecorded, 3)
        with pytest.raises(Killed):
            lab.cycle("one", Budget(children=4), generation_size=2).run()
        monkeypatch.setattr(Allotment, "size", lambda self, history, stage=None: 3 if len(history) < 5 else 0)
        lab.watch = lambda event: None
        lab.resume("one", Budget(children=4))
        found = [path.id.removeprefix("one/0/") for path in lab.store.history("one")]
        assert found == ["0/0", "0/1", "1/0", "1/1", "1/2"]

    def test_recorded_children_are_published_once_the_time_is_over(self, lab):
        lab.executor, lab.watch = LastFirst(lab.store), killer(ChildRecorded, 1)
        with pytest.raises(Killed):
            lab.cycle("one", Budget(seconds=60), generation_size=2).run()
        lab.watch = lambda event: None
        record = lab.store.running_cycle("one")
        path = lab.cycle("one", Budget(seconds=60), record, Clock(60, earlier=60)).run()
        assert [child.id for child in lab.store.history("one")] == [path.id] == ["one/0/0/1"]

    def test_children_of_earlier_runs_count(self, lab):
        lab.watch = killer(GenerationStarted, 2)
        with pytest.raises(Killed):
            lab.cycle("one", Budget(children=6)).run()
        lab.watch, lab.events[:] = (lambda event: None), []
        lab.resume("one", Budget(children=3))
        assert len(lab.store.history("one")) == 3
        (started,) = lab.told(CycleStarted)
        assert started.children_done == 2
        first = lab.store.history("one")[:2]
        assert started.best in first
        assert started.best.quality == started.best_score == max(child.quality for child in first)

    def test_the_population_is_that_of_the_start(self, lab, make_lab, template, tmp_path):
        """What another task published in between is not seen; muNet would visit it at once."""
        whole = make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))
        whole.run("one", children=4, agent="munet")
        lab.watch = killer(GenerationStarted, 2)
        with pytest.raises(Killed):
            lab.cycle("one", Budget(children=4), agent="munet").run()
        lab.watch = lambda event: None
        lab.run("two", agent="finetune")
        lab.resume("one", Budget(children=4))
        assert snapshot(lab.store, "one") == snapshot(whole.store, "one")


class TestStop:
    def test_after_the_interval_publishes_what_there_is(self, lab):
        lab.stop = lambda: "interval" if lab.told(IntervalDone) else "no"
        path = lab.run("one", children=8)
        history = lab.store.history("one")
        assert [len(child.metrics.validations) for child in history] == [1, 1]
        assert path.quality == max(child.quality for child in history)
        assert lab.store.running_cycle("one") is None

    def test_at_once_can_be_resumed_with_the_same_result(self, lab, make_lab, template, tmp_path):
        whole = make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))
        whole.run("one", children=4)
        lab.stop = lambda: "now" if len(lab.told(IntervalDone)) > 5 else "no"
        with pytest.raises(TrainingStopped):
            lab.run("one", children=4)
        assert lab.store.live_path("one") is None
        assert len(lab.store.history("one")) == 2
        lab.stop = lambda: "no"
        lab.resume("one", Budget(children=4))
        assert snapshot(lab.store, "one") == snapshot(whole.store, "one")

    def test_before_the_first_child_publishes_nothing_and_can_be_resumed(self, lab):
        lab.stop = lambda: "interval" if lab.told(CycleStarted) else "no"
        with pytest.raises(TrainingStopped, match="before a child was trained; nothing was published"):
            lab.run("one")
        assert lab.store.running_cycle("one").state == "running"
        lab.stop = lambda: "no"
        assert lab.resume("one", Budget(children=2))

    @pytest.mark.parametrize("wish", ["interval", "now"])
    def test_while_speed_is_measured_leaves_nothing_behind(self, lab, wish):
        lab.stop = lambda: wish
        with pytest.raises(TrainingStopped):
            lab.cycle("one", Budget(seconds=60), examples_per_validation=None)
        assert lab.store.cycles("one") == []

    def test_a_second_cycle_that_is_stopped_at_its_start_keeps_the_live_path(self, lab):
        first = lab.run("one")
        lab.stop = lambda: "interval"
        assert lab.run("one") == first


def test_the_size_penalty_prefers_sharing(lab):
    """With a strong penalty on size a path that trains everything loses against one that trains little."""
    lab.run("two", agent="linear")
    lab.executor = Graded(lab.store, qualities=[0.5, 0.5, 0.6, 0.6, 0.6, 0.6])
    small = lab.run("one", agent="linear", s_size=0.02)
    assert lab.run("one", agent="finetune", s_size=0.02).id == small.id
    assert lab.run("one", agent="finetune").quality == 0.6


def test_a_full_disk_while_a_child_is_recorded_can_be_resumed(lab, monkeypatch, make_lab, template, tmp_path):
    import errno

    from mu2net.errors import StoreError
    from mu2net.store.files import Files

    whole = make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))
    whole.run("one", children=4)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def watch(event):
        if len(lab.told(ChildRecorded)) == 1:
            monkeypatch.setattr(Files, "write", full)

    lab.watch = watch
    with pytest.raises(StoreError, match=r"No space left on device.*nothing was lost"):
        lab.run("one", children=4)
    monkeypatch.undo()
    lab.watch = lambda event: None
    lab.resume("one", Budget(children=4))
    assert snapshot(lab.store, "one") == snapshot(whole.store, "one")
    assert torch.is_tensor(lab.store.probe(lab.store.live_path("one").id)[0]["logits"])


def test_only_the_best_of_all_siblings_so_far_is_said_to_be_the_best(lab):
    lab.run("one", children=6, generation_size=6)
    told = lab.told(ChildRecorded)
    assert len(told) == 6
    for index, event in enumerate(told):
        kept = [earlier.score for earlier in told[: index + 1] if earlier.is_kept]
        assert event.is_best == (event.is_kept and event.score >= max(kept))


class Diverged(LocalExecutor):
    """Trains as ever, and then says that no child reached its first validation."""

    def submit(self, groups, observer, should_stop):
        for child in super().submit(groups, observer, should_stop):
            yield replace(child, metrics=replace(child.metrics, quality=0.0, validations=()))


def test_a_cycle_whose_children_all_diverged_publishes_nothing(lab):
    lab.executor = Diverged(lab.store)
    with pytest.raises(ConfigError, match=r"diverged in every child.*opt_lr"):
        lab.run("one", children=2)
    assert lab.store.live_path("one") is None
    assert lab.store.cycles("one")[0].state == "abandoned"
    assert len(lab.store.history("one")) == 2


def test_validation_is_capped(lab, monkeypatch):
    monkeypatch.setattr(cycle, "MAX_VALIDATION_EXAMPLES", 5)
    path = lab.run("one", children=1)
    assert (path.quality * 5) == pytest.approx(round(path.quality * 5))


@pytest.mark.parametrize(
    ("seconds_per_child", "intervals", "remaining", "expected"),
    [
        (60.0, [70.0], 30.0, "no"),  # the first interval computed what later ones find
        (60.0, [70.0, 10.0], 30.0, "no"),
        (60.0, [70.0, 65.0], 30.0, "interval"),
        (60.0, [70.0], 0.0, "interval"),
        (None, [70.0], 30.0, "interval"),
        (None, [], 30.0, "no"),
    ],
)
def test_training_goes_on_as_planned_while_another_interval_may_fit(seconds_per_child, intervals, remaining, expected):
    running = object.__new__(Cycle)
    running._workshop = SimpleNamespace(stop_request=lambda: "no", executor=SimpleNamespace(parallelism=1))
    running._budget, running._plan = Budget(100.0), Plan(ChildBudget(3, 100), seconds_per_child)
    running._clock = SimpleNamespace(remaining=lambda: remaining)
    running._group_seconds = dict(enumerate(intervals))
    assert running._stop_signal() == expected
