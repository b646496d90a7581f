"""Medians of alternating runs, and what a ratio of two runs is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A few measurements of one thing.

    Args:
        median: Their median.
        low: The smallest.
        high: The largest.
        count: How many there are.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some measurements.

        Raises:
            ValueError: There is none.
        """
        if not values:
            raise ValueError("no measurement was taken; expected at least one")
        return cls(float(np.median(values)), min(values), max(values), len(values))


@dataclass(frozen=True)
class Pair:
    """One run of the plain loop and the run of mu2net that followed it.

    Args:
        plain: Children's training examples per second of the plain loop.
        ours: Those of mu2net, with a full cache.
        plain_seconds: Seconds of the plain loop for all children, from start to end, validations included.
        ours_seconds: Those of mu2net, from an empty cache.
        foreign_load: Share of the machine's time that other programs used meanwhile; ``None`` where it is not known.
    """

    plain: float
    ours: float
    plain_seconds: float
    ours_seconds: float
    foreign_load: float | None = None

    @property
    def steady(self) -> float:
        """How many times faster mu2net is with a full cache."""
        return self.ours / self.plain

    @property
    def end_to_end(self) -> float:
        """How many times faster mu2net is from an empty cache to the end."""
        return self.plain_seconds / self.ours_seconds


@dataclass(frozen=True)
class Comparison:
    """The means of two sides over some seeds.

    Args:
        ours: Mean of mu2net.
        plain: Mean of the plain loop.
        ours_error: Standard error of mu2net's mean.
        plain_error: Standard error of the plain loop's mean.
        paired_error: Standard error of the mean difference, seed by seed.
    """

    ours: float
    plain: float
    ours_error: float
    plain_error: float
    paired_error: float

    @classmethod
    def of(cls, ours: Sequence[float], plain: Sequence[float]) -> Comparison:
        """Return the comparison of two sides, whose values belong together seed by seed.

        Raises:
            ValueError: There are fewer than two seeds, or different numbers of them.
        """
        if len(ours) != len(plain) or len(ours) < 2:
            raise ValueError(f"{len(ours)} and {len(plain)} values; expected as many on both sides, at least two")
        differences = [a - b for a, b in zip(ours, plain, strict=True)]
        return cls(
            float(np.mean(ours)),
            float(np.mean(plain)),
            standard_error(ours),
            standard_error(plain),
            standard_error(differences),
        )

    @property
    def difference(self) -> float:
        """Mean of mu2net minus mean of the plain loop."""
        return self.ours - self.plain

    @property
    def error(self) -> float:
        """Standard error of the difference of two independent means."""
        return math.hypot(self.ours_error, self.plain_error)

    @property
    def is_equal(self) -> bool:
        """Whether the means differ by no more than one standard error of their difference."""
        return abs(self.difference) <= self.error


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of a mean.

    Raises:
        ValueError: There are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} values; a standard error needs at least two")
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))
