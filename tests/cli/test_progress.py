from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.cli.progress import Progress
from mu2net.search.budget import Budget, ChildBudget
from mu2net.search.events import ChildPlanned, ChildRecorded, CycleStarted, GenerationStarted, Preparing
from mu2net.train.events import BatchDone, IntervalDone


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def texts(lines):
    return [line.text for line in lines]


def test_the_lines_of_a_recorded_cycle(recorded):
    progress = Progress("pets")
    lines = [text for event in recorded for text in texts(progress.update(event))]
    assert lines == [
        "decoding the images of pets",
        "cycle 0 with agent mu2net, until 4 children",
        "each child: 2 intervals of 400 training examples",
        "generation 0: 2 children",
        "child pets/0/0/0: 50.00 % validation, best so far (2.50 k own parameters, 3.2 s)",
        "child pets/0/0/1: 75.00 % validation, best so far (2.50 k own parameters, 3.2 s)",
        "generation 1: 2 children",
        "child pets/0/1/0: 70.00 % validation, not kept (2.50 k own parameters, 3.2 s)",
        "child pets/0/1/1: 90.00 % validation, best so far (2.50 k own parameters, 3.2 s)",
        "testing and publishing pets/0/1/1",
        "published pets/0/1/1: 90.00 % validation, 88.00 % test",
    ]


def test_what_is_being_done_along_the_way(recorded):
    progress, seen = Progress("pets"), []
    for event in recorded:
        progress.update(event)
        if progress.doing() not in seen[-1:]:
            seen.append(progress.doing())
    assert seen[0] == "decoding the images of pets 1 of 1,000"
    assert "generation 0 · children 1-2 of 4 · building" in seen
    assert "generation 0 · children 1-2 of 4 · interval 2 of 2 · training" in seen
    assert "generation 1 · children 3-4 of 4 · interval 1 of 2 · validating" in seen
    assert "generation 1 · child 4 of 4 · interval 2 of 2 · validating" in seen
    assert seen[-1] == "testing and publishing"


def test_the_bar_of_a_recorded_cycle_only_moves_on(recorded):
    progress, fractions = Progress("pets"), []
    for event in recorded:
        progress.update(event)
        if progress.cycle:
            fractions.append(progress.fraction())
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(set(fractions)) >= 8, "it moves with batches, not only with children"


def test_the_accuracies(recorded):
    progress, seen = Progress("pets"), []
    for event in recorded:
        progress.update(event)
        seen.append((progress.current, progress.best))
    assert (0.65, None) in seen, "the better of two children after the first interval"
    assert (0.9, 0.75) in [(round(now, 6) if now else now, best) for now, best in seen]
    assert seen[-1][1] == 0.9


def test_time_moves_the_bar_without_any_event(clock):
    progress = Progress("pets", clock)
    progress.update(CycleStarted("pets", 0, "mu2net", Budget(seconds=600), 0, 0.0))
    assert (progress.fraction(), progress.left()) == (0.0, "10m00s left")
    clock.seconds += 150
    assert (progress.fraction(), progress.left()) == (0.25, "7m30s left")
    clock.seconds += 10_000
    assert (progress.fraction(), progress.left()) == (1.0, "0.0 s left")


def test_the_time_of_the_preparation_counts(clock):
    progress = Progress("pets", clock)
    progress.update(Preparing("measuring the speed", 0, 1))
    clock.seconds += 20
    progress.update(CycleStarted("pets", 0, "mu2net", Budget(seconds=40), 0, 0.0))
    assert (progress.fraction(), progress.left()) == (0.5, "20.0 s left")


def test_the_estimate_counts_this_run_alone(clock):
    progress = Progress("pets", clock)
    clock.seconds += 50
    progress.update(CycleStarted("pets", 0, "mu2net", Budget(children=8), 4, 1000.0))
    progress.update(ChildPlanned(ChildBudget(1, 10)))
    clock.seconds += 30
    progress.update(GenerationStarted(1, ("a", "b", "c", "d")))
    progress.update(BatchDone("validate", 0, 0, 4))
    assert progress.fraction() == pytest.approx(0.95)
    assert progress.left() == "about 3.0 s left"


def test_a_resumed_cycle_counts_what_earlier_runs_did(clock):
    progress = Progress("pets", clock)
    lines = progress.update(CycleStarted("pets", 1, "munet", Budget(seconds=600, children=8), 4, 120.0))
    assert "goes on after an interruption (4 children in 2m00s done)" in lines[0].text
    assert "until 10m00s or 8 children" in lines[0].text
    assert progress.fraction() == 0.5
    assert (progress.best, progress.best_path) == (None, None)
    clock.seconds += 360
    assert progress.fraction() == 0.8
    assert progress.left() == "2m00s left"


def test_a_resumed_cycle_knows_the_best_path_of_before(clock, network_path):
    progress, path = Progress("pets", clock), network_path("pets/1/0/1", 0.9)
    progress.update(CycleStarted("pets", 1, "munet", Budget(children=8), 4, 120.0, path, 0.85))
    assert (progress.best, progress.best_path) == (0.9, path)
    worse = network_path("pets/1/1/0", 0.5)
    progress.update(ChildRecorded(worse, 0.5, is_kept=False, is_best=False))
    assert progress.best_path is path


def test_without_a_time_budget_the_time_left_is_estimated(clock):
    progress = Progress("pets", clock)
    progress.update(CycleStarted("pets", 0, "mu2net", Budget(examples=8000), 0, 0.0))
    progress.update(ChildPlanned(ChildBudget(4, 1000)))
    progress.update(GenerationStarted(0, ("pets/0/0/0",)))
    assert progress.left() == ""
    clock.seconds += 30
    progress.update(BatchDone("train", 2, 0, 10))
    assert progress.fraction() == pytest.approx(0.25)
    assert progress.left() == "about 1m30s left"


def test_work_of_unknown_length_has_no_fraction():
    progress = Progress("pets")
    assert progress.fraction() is None
    progress.update(Preparing("measuring the speed", 0, 1))
    assert progress.fraction() is None
    progress.update(Preparing("hashing components", 10, 40))
    assert progress.fraction() == 0.25


def test_an_unknown_event_changes_nothing():
    progress = Progress("pets")
    assert progress.update(object()) == []
    assert progress.doing() == "starting"


EVENTS = st.one_of(
    st.builds(Preparing, st.sampled_from(["decoding", "measuring"]), st.integers(0, 9), st.integers(0, 9)),
    st.builds(
        CycleStarted,
        st.just("pets"),
        st.integers(0, 2),
        st.just("mu2net"),
        st.builds(Budget, st.floats(0.1, 1e4), st.none() | st.integers(1, 9), st.none() | st.integers(1, 9000)),
        st.integers(0, 9),
        st.floats(0, 1e4),
    ),
    st.builds(ChildPlanned, st.builds(ChildBudget, st.integers(1, 4), st.integers(1, 999))),
    st.builds(GenerationStarted, st.integers(0, 3), st.lists(st.text(max_size=3), max_size=4).map(tuple)),
    st.builds(
        BatchDone,
        st.sampled_from(["prepare", "train", "validate"]),
        st.integers(-1, 9),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    st.builds(
        IntervalDone,
        st.text(max_size=3),
        st.integers(0, 4),
        st.floats(0, 1),
        st.floats(0, 9),
        st.integers(1, 99),
        st.floats(0, 1),
        st.floats(0, 9),
    ),
)


@given(st.lists(EVENTS, max_size=30))
def test_no_order_of_events_ever_raises(events):
    clock = Clock()
    progress = Progress("pets", clock)
    for event in events:
        clock.seconds += 1.5
        progress.update(event)
        assert isinstance(progress.doing(), str)
        assert isinstance(progress.left(), str)
        fraction = progress.fraction()
        assert fraction is None or 0 <= fraction <= max(1.0, fraction if progress.cycle is None else 1.0)


def test_the_bar_does_not_go_back_when_two_workers_report_in_turn():
    progress = Progress("pets")
    progress.update(CycleStarted("pets", 0, "mu2net", Budget(children=2), 0, 0.0))
    progress.update(ChildPlanned(ChildBudget(2, 10)))
    progress.update(GenerationStarted(0, ("a", "b")))
    fractions = []
    for interval in (0, 1, 0, 1):
        progress.update(BatchDone("train", interval, 5, 10))
        fractions.append(progress.fraction())
    assert fractions == sorted(fractions)
    assert fractions[0] < fractions[1]
