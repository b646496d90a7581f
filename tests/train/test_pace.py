"""The costs are made up: a clock that only moves where something is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.compute import Compute
from mu2net.train.group import TrainConfig
from mu2net.train.length import Length, StepCost
from mu2net.train.pace import MOST_ROUNDS, RESERVE, Measured, Pace, share_filling


@dataclass
class Clock:
    time: float = 0.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Learner:
    """Trains for so many seconds per batch, after a first one that takes a minute; some take ten times as long."""

    clock: Clock
    seconds: float
    calls: list = field(default_factory=list)
    slow: tuple = ()

    def step(self, turns, labels):
        seconds = self.seconds * (10 if len(self.calls) in self.slow else 1)
        self.clock.time += seconds if self.calls else 60.0
        self.calls.append(turns[0].lr)
        return [1.0]

    def count_correct(self, turns, batch):
        self.clock.time += self.seconds / 2
        return [0]

    def state(self, place):
        return ("state", place)

    def restore(self, place, state):
        self.restored = state


@dataclass
class Prefixes:
    """Fills for so many seconds where an image is new, and reads for a tenth of it; or never keeps anything."""

    clock: Clock
    seconds: float
    is_kept: bool
    known: set = field(default_factory=set)

    def activation(self, prefix, batch):
        rows = {(batch.reader.name, int(index)) for index in batch.indices}
        self.clock.time += self.seconds / 10 if self.is_kept and rows <= self.known else self.seconds
        self.known |= rows
        return torch.zeros(len(batch.indices))

    def missing(self, prefix, reader, indices, batch_size):
        rows = {(reader.name, int(index)) for index in indices}
        return len(rows - self.known) if self.is_kept else None


@pytest.fixture
def measure(vit, split):
    def run(seconds, *, learn=1.0, fill=0.0, is_kept=True, known=0, sharers=1, slow=(), companions=1, **config):
        clock = Clock()
        compute = Compute.of(vit, torch.device("cpu"), "float32")
        train, validation = (SplitReader(name, split(count, 0), Pipeline(8), compute) for name, count in SIZES.items())
        learner, prefixes = Learner(clock, learn, slow=slow), Prefixes(clock, fill, is_kept)
        pace_batches = TrainBatches(train, 10, (0,))
        for step in range(known):
            prefixes.known |= {("train", int(index)) for index in pace_batches.batch(step).indices}
        settings = {"num_validations": 4, "examples_per_validation": 10**6, "batch_size": 10, **config}
        settings["evaluation_batch_size"] = 10
        pace = Pace(TrainConfig(**settings), pace_batches, validation, prefixes, clock)
        charged = []
        child = SimpleNamespace(learner=learner, place=3, prefix=None, add_seconds=charged.append)
        measured = pace.measure(child, seconds / (1.0 - RESERVE) + 60.0 / companions, sharers, companions)
        run.num_images = pace.num_images(measured)
        length = pace.length(measured)
        assert charged == [clock.time]
        assert learner.restored == ("state", 3)
        assert set(learner.calls) == {0.0}
        run.num_measured = len(learner.calls)
        return length

    return run


SIZES = {"train": 100, "validation": 20}


def test_a_first_step_that_sets_things_up_does_not_count(measure):
    """Two steps of a second; a validation of two batches takes one: measured in 2 s, 4 s are for validation."""
    length = measure(46.0)
    assert length.num_validations == 4
    assert length.steps_per_interval == pytest.approx((46 - 2 - 4) / 4, abs=1)


def test_one_slow_step_does_not_count_where_steps_are_cheap(measure):
    usual, disturbed = measure(5000.0), measure(5000.0, slow=(3,))
    assert measure.num_measured == MOST_ROUNDS
    assert disturbed.total_steps == pytest.approx(usual.total_steps, rel=0.02)


def test_dear_steps_are_measured_only_twice(measure):
    measure(200.0, learn=10.0)
    assert measure.num_measured == 2


def test_a_cheap_child_trains_longer(measure):
    dear, cheap = measure(100.0, learn=1.0), measure(100.0, learn=0.01)
    assert cheap.total_steps > 80 * dear.total_steps


def test_fresh_activations_are_paid_for_in_every_step(measure):
    fresh, kept = (measure(1000.0, learn=0.1, fill=1.0, is_kept=is_kept) for is_kept in (False, True))
    assert fresh.total_steps == pytest.approx((1000 - 4 * 2 * 1.05) / 1.1, rel=0.02)
    assert kept.total_steps == pytest.approx((1000 - 10 - 4 * 2 * 0.15) / 0.2, rel=0.02)


def test_a_child_is_never_longer_than_its_bound(measure):
    assert measure(1e6, examples_per_validation=50) == Length(4, 5)


def test_a_child_always_takes_one_step(measure):
    assert measure(-1000.0) == Length(1, 1)


def test_what_is_missing_is_measured_where_some_is_known(measure):
    """Activations of five of ten batches are known: those of the others cost ten times as much, and are paid for."""
    known = [measure(900.0, learn=0.1, fill=100.0, known=count).total_steps for count in (0, 5, 10)]
    assert known[0] < known[1] < 20
    assert known[2] > 30


def test_children_that_are_compared_find_the_length_that_fits_all_of_them(vit, split):
    """A step of both takes 1.2 s, a validation of both 1.2 s: what one of them costs decides nothing alone."""
    clock = Clock()
    compute = Compute.of(vit, torch.device("cpu"), "float32")
    train, validation = (SplitReader(name, split(count, 0), Pipeline(8), compute) for name, count in SIZES.items())
    settings = {"num_validations": 1, "examples_per_validation": 10**6, "batch_size": 10, "evaluation_batch_size": 10}
    prefixes = Prefixes(clock, 0.0, is_kept=False)
    pace = Pace(TrainConfig(**settings), TrainBatches(train, 10, (0,)), validation, prefixes, clock)
    dear, cheap = Learner(clock, 1.0), Learner(clock, 0.2)
    children = [
        SimpleNamespace(learner=learner, place=0, prefix=None, add_seconds=lambda _: None) for learner in (dear, cheap)
    ]
    length = pace.common_length(children, 123.0 + 120.0 / (1.0 - RESERVE))
    assert length.num_validations == 1
    assert length.total_steps == pytest.approx((120 - 1.2) / 1.2, abs=3)
    assert [learner.restored for learner in (dear, cheap)] == [("state", 0)] * 2


def test_children_of_one_prefix_divide_the_time_for_it(measure):
    alone, together = measure(200.0, learn=0.1, fill=10.0), measure(200.0, learn=0.1, fill=10.0, sharers=5)
    assert together.total_steps > 1.5 * alone.total_steps
    fresh = [measure(200.0, learn=0.1, fill=1.0, is_kept=False, sharers=count).total_steps for count in (1, 10)]
    assert fresh[1] == pytest.approx(5.5 * fresh[0], rel=0.1)


def test_children_of_the_same_work_divide_the_time_of_the_measurement(measure):
    """A measurement of 60 s and more leaves a child with 20 s one step; twelve such children have 240 s together."""
    assert measure(20.0 - 60.0, learn=0.5).total_steps == 1
    assert measure(20.0 - 5.0, learn=0.5, companions=12).total_steps > 10


def test_fewer_images_are_seen_more_often_where_a_new_one_is_dear(measure):
    """A new image costs 10 s per batch, a known one a tenth of that; all ten batches take 100 s."""
    measure(80.0, learn=0.01, fill=10.0, passes=4)
    assert 10 <= measure.num_images < 80
    measure(80.0, learn=0.01, fill=10.0, passes=1)
    assert measure.num_images == 100, "no number of passes was asked for"
    measure(1000.0, learn=0.01, fill=10.0, passes=4)
    assert measure.num_images == 100, "there is time for all of them"
    measure(80.0, learn=5.0, fill=10.0, passes=8)
    assert measure.num_images == 100, "a known image costs nearly as much as a new one"
    measure(80.0, learn=0.01, fill=10.0, passes=4, is_kept=False)
    assert measure.num_images == 100, "nothing is kept"


def test_children_divide_the_time_for_trunks_that_are_parts_of_each_other():
    """The first computes eight blocks of ten batches, the second one more block of nine: 89 s, 4.45 s in ten steps."""
    lower = Measured(StepCost(1.0, 8.0, 10), StepCost(2.0, 16.0, 1), 100.0)
    higher = Measured(StepCost(1.0, 1.0, 9), StepCost(2.0, 2.0, 1), 90.0)
    fresh = Measured(StepCost(5.0), StepCost(6.0), 80.0)
    found = share_filling([lower, higher, fresh])
    assert found[0] == Measured(StepCost(1.0, 4.45, 10), StepCost(2.0, 9.0, 1), 100.0)
    assert found[1] == Measured(StepCost(1.0, 4.45, 10), StepCost(2.0, 9.0, 1), 90.0)
    assert found[2] == fresh, "what is never kept is its own"
    assert found[0] + found[1] == Measured(StepCost(2.0, 8.9, 10), StepCost(4.0, 18.0, 1), 190.0)
    assert share_filling([lower]) == [lower]


@pytest.mark.parametrize("missing", [(10, 0), (0, 10), (10, 5), (0, 0)])
def test_what_is_known_of_one_trunk_is_paid_for_by_nobody(missing):
    costs = [Measured(StepCost(1.0, 8.0, number), StepCost(0.0), 100.0) for number in missing]
    found = share_filling(costs)
    assert sum(each.step.of(10) for each in found) == pytest.approx(sum(each.step.of(10) for each in costs))
    assert found[0] == found[1]


def test_a_trunk_is_measured_without_the_part_that_another_child_computes(vit, split):
    """The lower trunk takes 5 s per batch; the higher one, which begins with it, 6 s, of which one is its own."""
    clock = Clock()
    compute = Compute.of(vit, torch.device("cpu"), "float32")
    train, validation = (SplitReader(name, split(count, 0), Pipeline(8), compute) for name, count in SIZES.items())

    class Nested(Prefixes):
        """Prefixes by the number of blocks, a second each; what was computed of a batch is known."""

        def activation(self, prefix, batch):
            key = (batch.reader.name, tuple(batch.indices.tolist()))
            known = max((blocks for name, blocks in self.known if name == key), default=0)
            self.clock.time += max(0, prefix - known)
            self.known.add((key, prefix))
            return torch.zeros(len(batch.indices))

        def missing(self, prefix, reader, indices, batch_size):
            if not self.is_kept:
                return None
            return 0 if len(indices) < 100 and self.is_filled(prefix, reader, indices) else len(indices)

        def is_filled(self, prefix, reader, indices):
            return ((reader.name, tuple(indices.tolist())), prefix) in self.known

    settings = {"num_validations": 1, "examples_per_validation": 10**6, "batch_size": 10, "evaluation_batch_size": 10}
    found = {}
    for is_kept in (True, False):
        prefixes = Nested(clock, 0.0, is_kept=is_kept)
        pace = Pace(TrainConfig(**settings), TrainBatches(train, 10, (0,)), validation, prefixes, clock)
        lower, higher = (
            SimpleNamespace(learner=Learner(clock, 0.1), place=0, prefix=blocks, add_seconds=lambda _: None)
            for blocks in (5, 6)
        )
        found[is_kept] = [pace.measure(lower, 100.0), pace.measure(higher, 1e6, below=[lower])]
    assert [cost.step.fill_seconds for cost in found[True]] == pytest.approx([5.0, 1.0])
    assert [cost.validation.fill_seconds for cost in found[True]] == pytest.approx([2 * 5.0, 2 * 1.0])
    higher = found[False][1].step
    assert higher.seconds == pytest.approx(6.1), "once the lower child has ended, nobody else computes its trunk"
