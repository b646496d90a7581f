"""Averages of test accuracies with bootstrap intervals; pure.

An accuracy is uncertain for two reasons that can be measured here.

*Test images*: other images would give another share of correct ones. Resampling n outcomes of which k are correct is a
draw from Binomial(n, k/n), so no list of outcomes is needed. It is drawn once per task for all seeds of an agent, which
see the same images, and for every agent by itself. Agents see the same images too, and their outcomes go together; not
pairing them image by image makes intervals of differences wider than they need be, which is conservative.

*Seeds*: another seed gives another search in another order of tasks. Where several ran, seeds are drawn with
replacement too; a handful of seeds shows less than their full spread. Tasks are not resampled: averages speak of
these tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DRAWS = 10_000
"""Bootstrap draws."""

LEVEL = 0.95
"""Share of the draws that an interval holds."""


@dataclass(frozen=True)
class Interval:
    """A figure and the interval around it.

    Args:
        value: The figure itself, not the middle of the draws.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Outcomes:
    """Test outcomes of one agent.

    Args:
        correct: Correctly classified images, by seed and task.
        totals: Test images, by task.

    Raises:
        ValueError: There is no seed or no task, a seed has other tasks, or a number is not possible.
    """

    correct: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.correct or not self.totals:
            raise ValueError("no outcome was observed; expected at least one seed and one task")
        for correct in self.correct:
            pairs = zip(correct, self.totals, strict=False)
            if len(correct) != len(self.totals) or any(not 0 <= k <= n or n < 1 for k, n in pairs):
                raise ValueError(f"{correct} correct of {self.totals}; expected a number from 0 to all for every task")

    @property
    def average(self) -> float:
        """Accuracy in [0, 1], averaged over tasks and seeds."""
        return float(np.mean(np.array(self.correct) / np.array(self.totals)))


def draw_averages(outcomes: Outcomes, rng: np.random.Generator, count: int = DRAWS) -> Array:
    """Return averages of bootstrap draws over test images, and over seeds where there are several.

    Args:
        outcomes: What was observed.
        rng: Source of the draws.
        count: Number of draws.

    Returns:
        Shape ``[count]``, each in [0, 1].
    """
    totals = np.array(outcomes.totals)
    shares = np.array(outcomes.correct) / totals
    chosen = rng.integers(len(shares), size=(count, len(shares)))
    expected = np.minimum(shares[chosen].mean(axis=1), 1.0)
    return np.asarray((rng.binomial(totals, expected) / totals).mean(axis=1), dtype=np.float64)


def average(outcomes: Outcomes, seed: int = 0) -> Interval:
    """Return the average accuracy with its interval, in [0, 1].

    Args:
        outcomes: What was observed.
        seed: Seed of the draws.
    """
    return _interval(outcomes.average, draw_averages(outcomes, np.random.default_rng(seed)))


def accuracy(correct: Sequence[int], total: int, seed: int = 0) -> Interval:
    """Return the accuracy on one task with its interval, in [0, 1].

    Args:
        correct: Correctly classified images, by seed.
        total: Test images.
        seed: Seed of the draws.
    """
    return average(Outcomes(tuple((k,) for k in correct), (total,)), seed)


def difference(ours: Outcomes, theirs: Outcomes, seed: int = 0) -> Interval:
    """Return one average minus another with its interval, in [-1, 1]; the draws of the two are independent.

    Args:
        ours: Outcomes of one agent.
        theirs: Outcomes of the other.
        seed: Seed of the draws.
    """
    first, second = np.random.default_rng(seed).spawn(2)
    draws = draw_averages(ours, first) - draw_averages(theirs, second)
    return _interval(ours.average - theirs.average, draws)


def _interval(value: float, draws: Array) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
