from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.agents import Stage
from mu2net.core.path import Metrics, Path
from mu2net.search.allotment import Allotment
from mu2net.search.budget import Budget, ChildBudget, Plan
from mu2net.train.group import TrainConfig

CONFIG = TrainConfig(1, 1, batch_size=10)


class Clock:
    def __init__(self, left: float) -> None:
        self.left = left

    def remaining(self) -> float:
        return self.left


def children(*spent: tuple[float, int]) -> list[Path]:
    """Children that took so many seconds for so many examples."""
    return [
        Path(f"one/0/0/{n}", "one", (), {}, None, "mu2net", Metrics(0.5, 1, (0.5,), examples, seconds, {}))
        for n, (seconds, examples) in enumerate(spent)
    ]


def allot(plan: Plan, budget: Budget, left: float = float("inf"), *, size=2, parallelism=2, is_baseline=False):
    return Allotment(plan, budget, Clock(left), size, parallelism, 500, is_baseline)


GIVEN = Plan(ChildBudget(2, 100))
TIMED = Plan(ChildBudget(4, 5000), 60.0)


def test_a_generation_is_no_larger_than_what_is_left():
    assert allot(GIVEN, Budget(children=3)).size([]) == 2
    assert allot(GIVEN, Budget(children=3)).size(children((1, 200), (1, 200))) == 1
    assert allot(GIVEN, Budget(children=3)).size(children(*[(1, 200)] * 3)) == 0
    assert allot(GIVEN, Budget(examples=700)).size(children((1, 200), (1, 200))) == 1
    assert allot(GIVEN, Budget(examples=1000), size=8).size(children((1, 200))) == 4


def test_baselines_have_one_generation():
    assert allot(GIVEN, Budget(children=9), is_baseline=True).size([]) == 2
    assert allot(GIVEN, Budget(children=9), is_baseline=True).size(children((1, 200))) == 0


@pytest.mark.parametrize(("left", "size"), [(1000, 8), (121, 4), (119, 2), (19, 2), (17, 0)])
def test_as_many_children_as_fit_the_time_and_a_last_one_in_part(left, size):
    assert allot(TIMED, Budget(seconds=2000), left, size=8).size([]) == size


def test_children_that_ended_early_make_room_for_more():
    """Those that reach the most examples of a child take less than their seconds."""
    assert allot(TIMED, Budget(seconds=2000), 121, size=8).size(children((30.0, 20_000), (30.0, 20_000))) == 8


def test_where_nothing_is_known_a_generation_is_whole():
    assert allot(GIVEN, Budget(seconds=10), 5.0, size=3).size([]) == 3


def test_a_child_with_seconds_gets_those_that_are_left():
    found = allot(TIMED, Budget(seconds=2000), 1000.0).child(CONFIG, [])
    assert (found.seconds, found.num_validations, found.examples_per_validation) == (60.0, 4, 5000)
    assert allot(TIMED, Budget(seconds=2000), 25.0).child(CONFIG, []).seconds == 25.0


def test_children_of_a_given_number_share_the_time():
    four = allot(TIMED, Budget(seconds=2000, children=4), 300.0)
    assert four.child(CONFIG, []).seconds == 150.0
    assert four.child(CONFIG, children((60, 100), (60, 100))).seconds == 300.0
    assert allot(TIMED, Budget(children=4)).child(CONFIG, []).seconds == 60.0


def test_a_child_with_examples_is_cut_to_the_time_that_is_left():
    timed = allot(GIVEN, Budget(seconds=100), 10.0)
    assert timed.child(CONFIG, []).examples_per_validation == 100
    assert timed.child(CONFIG, children((20.0, 200))).examples_per_validation == 50
    assert timed.child(CONFIG, children((5.0, 200))).examples_per_validation == 100
    assert timed.child(CONFIG, children((1000.0, 200))).examples_per_validation == 10  # never less than a batch
    assert timed.child(CONFIG, []).seconds is None


class TestStages:
    """A stage divides its share of what is left among its children."""

    WHOLE = Plan(ChildBudget(4, 5000), 100.0)

    def test_size(self):
        timed = allot(self.WHOLE, Budget(seconds=100), 100.0)
        assert timed.size([], Stage(5, 0.5)) == 5
        assert timed.size([], Stage()) == 2
        assert timed.size(children((1, 200)), Stage(0)) == 0
        assert allot(GIVEN, Budget(children=3)).size(children((1, 200)), Stage(5)) == 2

    def test_none_begins_where_hardly_any_time_is_left(self):
        assert allot(self.WHOLE, Budget(seconds=100), 2.9).size([], Stage(5)) == 0
        assert allot(self.WHOLE, Budget(seconds=100), 3.1).size([], Stage(5)) == 5

    def test_an_agent_may_want_more_time(self):
        timed = allot(self.WHOLE, Budget(seconds=100), 19.0)
        assert [timed.size([], Stage(1, least=least)) for least in (0.18, 0.2)] == [1, 0]

    def test_none_begins_without_examples(self):
        plan = Plan(ChildBudget(4, 500))
        assert allot(plan, Budget(examples=1000)).size(children((1, 1000)), Stage(2)) == 0
        assert allot(plan, Budget(examples=1000)).size(children((1, 998)), Stage(2)) == 1

    @pytest.mark.parametrize(("size", "seconds"), [(1, 30.0), (2, 30.0), (3, 15.0), (4, 15.0)])
    def test_seconds(self, size, seconds):
        config = allot(self.WHOLE, Budget(seconds=100), 60.0).child(CONFIG, [], Stage(size, 0.5, 7), size)
        assert (config.seconds, config.num_validations, config.examples_per_validation) == (seconds, 7, 5000)

    @pytest.mark.parametrize("size", [1, 3, 4])
    def test_children_that_are_compared_take_turns_on_one_worker(self, size):
        stage = Stage(size, 0.5, 1, examples=1024, is_comparison=True)
        config = allot(self.WHOLE, Budget(seconds=100), 60.0).child(CONFIG, [], stage, size)
        assert config.is_comparison
        assert (config.seconds, config.examples_per_validation) == (30.0 / size, 1024)

    def test_a_bound_on_examples_is_never_more_than_planned(self):
        config = allot(GIVEN, Budget(children=9)).child(CONFIG, [], Stage(3, examples=10**6), 3)
        assert (config.examples_per_validation, config.is_comparison) == (100, False)

    def test_examples(self):
        plan = Plan(ChildBudget(4, 500))
        stage = Stage(3, 0.5)
        config = allot(plan, Budget(examples=1000)).child(CONFIG, children((1, 400)), stage, 3)
        assert (config.seconds, config.num_validations, config.examples_per_validation) == (None, 4, 25)

    @pytest.mark.parametrize(("known", "wanted", "images"), [(None, 5, 5), (9, 5, 5), (3, 5, 3), (9, None, 9)])
    def test_validated_images(self, known, wanted, images):
        config = replace(CONFIG, max_validation_examples=known)
        stage = Stage(1, validated=wanted)
        assert allot(GIVEN, Budget(children=9)).child(config, [], stage, 1).max_validation_examples == images

    def test_given_examples(self):
        config = allot(GIVEN, Budget(children=9)).child(CONFIG, [], Stage(3, 0.5), 3)
        assert (config.seconds, config.num_validations, config.examples_per_validation) == (None, 2, 100)
