"""How many steps fit a child's seconds: measured on the child itself, then fixed.

The number of steps is part of what a child is, so it is decided before training and recorded: the same child with the
same number of steps gives the same bits on another day.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch

from mu2net.core.outlook import num_images
from mu2net.train.batches import Batch, SplitReader, TrainBatches, evaluation_batches, evaluation_indices
from mu2net.train.child import ChildRun
from mu2net.train.group import TrainConfig
from mu2net.train.learner import Turn
from mu2net.train.length import VALIDATION_SHARE, Length, StepCost, fit_length
from mu2net.train.prefix import Prefixes

_ROUNDS = 2
"""Every measurement is made twice at least, and the first does not count: it pays for what is set up once."""

MOST_ROUNDS = 6
"""Steps that are measured at most; the median of all but the first counts."""

MEASURED_SHARE = 0.02
"""Share of a child's time after which no further step is measured."""

RESERVE = 0.06
"""Share of a child's time that is not planned: on a busy machine a step takes longer than a measured one."""


@dataclass(frozen=True)
class Measured:
    """What a child costs.

    Args:
        step: What a training step costs, over all training images.
        validation: What a validation costs.
        seconds: Its time, without that of the measurement and the reserve.
    """

    step: StepCost
    validation: StepCost
    seconds: float

    def __add__(self, other: Measured) -> Measured:
        """Return what two children in lock-step cost."""
        return Measured(self.step + other.step, self.validation + other.validation, self.seconds + other.seconds)


def share_filling(costs: Sequence[Measured]) -> list[Measured]:
    """Return what children cost that divide the time for their trunks equally, as it is counted when they train.

    The trunk of one may be a part of another's: then it was measured for the first alone. Activations of one may be
    known already. What is never kept stays with the child whose it is.

    Args:
        costs: What each of them costs by itself; at least one.
    """
    return [
        replace(
            cost,
            step=_filled(cost.step, [other.step for other in costs]),
            validation=_filled(cost.validation, [other.validation for other in costs]),
        )
        for cost in costs
    ]


def _filled(cost: StepCost, costs: Sequence[StepCost]) -> StepCost:
    """Return the cost with an equal part of what all fill, over as many steps as the one that misses most."""
    if cost.num_missing is None:
        return cost
    kept = [(other.fill_seconds, other.num_missing) for other in costs if other.num_missing is not None]
    most = max(missing for _, missing in kept)
    everything = sum(seconds * missing for seconds, missing in kept)
    return replace(cost, fill_seconds=everything / (len(kept) * most) if most else 0.0, num_missing=most)


@dataclass(frozen=True)
class Pace:
    """Measures children before they train.

    Args:
        config: Their budget.
        batches: The training batches.
        validation: The validation split.
        prefixes: Provides the activations below the trainable slots; what is computed here is kept.
        now: The time in seconds.
    """

    config: TrainConfig
    batches: TrainBatches
    validation: SplitReader
    prefixes: Prefixes
    now: Callable[[], float] = time.perf_counter

    def measure(
        self,
        child: ChildRun,
        seconds: float,
        sharers: int = 1,
        companions: int = 1,
        below: Sequence[ChildRun] = (),
    ) -> Measured:
        """Return what a child costs; it takes a few steps, evaluates a few images, and is put back to where it started.

        Args:
            child: The child, which has not trained yet.
            seconds: Its time, this measurement included.
            sharers: Children that train together on the same frozen prefix, this one included: they divide the time
                that it takes to compute it.
            companions: Children that do the same work, this one included: it is measured for all of them, and they
                divide the time for that too.
            below: Children of the group whose frozen prefix is a part of this one's: its own is what is above.
        """
        step, validation, spent = self._cost(child, sharers, seconds * companions, below)
        return Measured(step, validation, (1.0 - RESERVE) * (seconds - spent / companions))

    def num_images(self, measured: Measured) -> int:
        """Return how many training images a child should see.

        All of them, unless it is bound to pass over them several times and an image that comes again costs far less
        than a new one: its activation below the trainable slots was kept. Then ``num_images``, in whole batches.

        Args:
            measured: What the child costs.
        """
        everything, size = len(self.batches.reader.split), self.batches.batch_size
        step, passes = measured.step, self.config.passes
        if passes == 1 or step.num_missing is None:
            return everything
        checking = min(measured.validation.of(self.config.num_validations), VALIDATION_SHARE * measured.seconds)
        left = measured.seconds - checking + (everything / size - step.num_missing) * step.fill_seconds
        once, often = (left / (step.fill_seconds + count * step.seconds) * size for count in (1, passes))
        dearness = (step.fill_seconds + step.seconds) / max(step.seconds, 1e-9)
        images = num_images(once, often, dearness, everything)
        return everything if images >= everything else max(1, int(images / size)) * size

    def length(self, measured: Measured) -> Length:
        """Return the longest training that fits a child's time.

        Args:
            measured: What it costs.
        """
        return fit_length(measured.seconds, measured.step, measured.validation, self._longest)

    def common_length(self, children: Sequence[ChildRun], seconds: float) -> Length:
        """Return the longest training that fits some seconds when all children take it together.

        Args:
            children: The children, none of which has trained yet.
            seconds: The time of all of them.
        """
        costs = [self._cost(child, 1, seconds / len(children)) for child in children]
        step, validation = costs[0][0], costs[0][1]
        for its_step, its_validation, _ in costs[1:]:
            step, validation = step + its_step, validation + its_validation
        left = seconds - sum(spent for _, _, spent in costs)
        return fit_length((1.0 - RESERVE) * left, step, validation, self._longest)

    @property
    def _longest(self) -> Length:
        steps = max(1, self.config.examples_per_validation // self.batches.batch_size)
        return Length(self.config.num_validations, steps)

    def _cost(
        self, child: ChildRun, sharers: int, seconds: float, below: Sequence[ChildRun] = ()
    ) -> tuple[StepCost, StepCost, float]:
        """Return what a step and a validation of a child cost, and the seconds that the measurement took."""
        started, state = self.now(), child.learner.state(child.place)
        if self.prefixes.missing(child.prefix, self.batches.reader, self.batches.pool, self.batches.batch_size) is None:
            below = ()  # what is never kept is computed whole once the others have ended
        step = self._step_cost(child, sharers, started + MEASURED_SHARE * seconds, below)
        validation = self._validation_cost(child, sharers, below)
        child.learner.restore(child.place, state)
        spent = self.now() - started
        child.add_seconds(spent)
        return step, validation, spent

    def _step_cost(self, child: ChildRun, sharers: int, until: float, below: Sequence[ChildRun]) -> StepCost:
        reader, size = self.batches.reader, self.batches.batch_size
        everything = np.arange(len(reader.split))
        chosen = self._chosen(child, map(self.batches.batch, range(-(-len(everything) // size))), MOST_ROUNDS)
        filling: list[float] = []
        learning: list[float] = []
        for batch in chosen:
            if len(learning) >= _ROUNDS and self.now() > until:
                break
            seconds, entering = self._entering(child, batch, below)
            filling.append(seconds)
            started = self.now()
            child.learner.step([Turn(child.place, entering, key=batch.key)], batch.labels)
            learning.append(self.now() - started)
        fill, learn = median(filling[1:]), median(learning[1:])
        missing = self.prefixes.missing(child.prefix, reader, everything, size)
        if missing is None:
            return StepCost(fill / sharers + learn)
        reading, _ = self._entering(child, chosen[len(learning) - 1])
        return StepCost(reading + learn, max(0.0, fill - reading) / sharers, -(-missing // size))

    def _validation_cost(self, child: ChildRun, sharers: int, below: Sequence[ChildRun]) -> StepCost:
        """Return the cost of a validation as that of a step: the first one may have to fill what is kept."""
        size, limit = self.config.evaluation_batch_size, self.config.max_validation_examples
        indices = evaluation_indices(self.validation, limit)
        missing = self.prefixes.missing(child.prefix, self.validation, indices, size)
        batch = self._chosen(child, evaluation_batches(self.validation, size, limit), _ROUNDS)[0]
        filling = reading = judging = 0.0
        for _ in range(_ROUNDS):
            reading, entering = self._entering(child, batch, below)
            filling = max(filling, reading)
            started = self.now()
            child.learner.count_correct([Turn(child.place, entering)], batch)
            judging = self.now() - started
        passes = len(indices) / size
        if missing is None:
            return StepCost(passes * (reading / sharers + judging))
        fill = (filling - reading) * missing / size / sharers
        return StepCost(passes * (reading + judging), fill, 1)

    def _chosen(self, child: ChildRun, batches: Iterable[Batch], count: int) -> list[Batch]:
        """Return the batches to measure: the first whose activations are still to be computed, where there are any.

        Args:
            child: The child.
            batches: Batches to choose from.
            count: How many; where fewer are still to be computed, others come after them up to ``_ROUNDS``.
        """
        first: list[Batch] = []
        fresh: list[Batch] = []
        for batch in batches:
            if len(first) < count:
                first.append(batch)
            if self.prefixes.missing(child.prefix, batch.reader, batch.indices, len(batch.indices)) != 0:
                fresh.append(batch)
            if len(fresh) == count:
                break
        if len(fresh) >= _ROUNDS:
            return fresh
        return (fresh + first * count)[: _ROUNDS if fresh else count]

    def _entering(self, child: ChildRun, batch: Batch, below: Sequence[ChildRun] = ()) -> tuple[float, torch.Tensor]:
        """Return the activation that enters a child's trainable slots, and the seconds that it took.

        What other children provide is computed before, and not counted.
        """
        for other in below:
            self.prefixes.activation(other.prefix, batch)
        started = self.now()
        entering = self.prefixes.activation(child.prefix, batch)
        return self.now() - started, entering
