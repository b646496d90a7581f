"""How long a child trains: so many steps as it was given, or as many as fit its seconds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

VALIDATION_SHARE = 0.25
"""The share of a child's budget that validation takes at most, where the budget allows to choose."""

WHOLE_STEPS = 8
"""The fewest steps of an interval, where the budget allows to choose."""


@dataclass(frozen=True)
class Length:
    """Intervals of equal length, with a validation after each.

    Args:
        num_validations: Number of intervals.
        steps_per_interval: Optimiser steps of an interval.
    """

    num_validations: int
    steps_per_interval: int

    @property
    def total_steps(self) -> int:
        """Steps of all intervals."""
        return self.num_validations * self.steps_per_interval

    def ends_interval(self, step: int) -> bool:
        """Return whether an interval ends with a step, counted from 0 over all intervals."""
        return (step + 1) % self.steps_per_interval == 0


@dataclass(frozen=True)
class StepCost:
    """What one step of a child costs, and how often it costs more.

    Args:
        seconds: Seconds of every step.
        fill_seconds: Seconds that a step takes in addition where the activation below the trainable slots is missing.
        num_missing: Steps from the first for which it is missing; ``None`` for all of them.
    """

    seconds: float
    fill_seconds: float = 0.0
    num_missing: int | None = None

    def __add__(self, other: StepCost) -> StepCost:
        """Return what a step of two children in lock-step costs."""
        missing = (
            None
            if None in (self.num_missing, other.num_missing)
            else max(self.num_missing or 0, other.num_missing or 0)
        )
        return StepCost(self.seconds + other.seconds, self.fill_seconds + other.fill_seconds, missing)

    def of(self, steps: int) -> float:
        """Return the seconds of a number of steps."""
        missing = steps if self.num_missing is None else min(steps, self.num_missing)
        return steps * self.seconds + missing * self.fill_seconds

    def fitting(self, seconds: float) -> int:
        """Return how many steps fit a time; never fewer than none."""
        full = self.seconds + self.fill_seconds
        if self.num_missing is None or seconds <= self.num_missing * full:
            return max(0, int(seconds / full))
        return self.num_missing + int((seconds - self.num_missing * full) / self.seconds)


def fit_length(seconds: float, step: StepCost, validation: StepCost, longest: Length) -> Length:
    """Return the longest training that fits a time.

    As many validations are planned as ``longest`` has, and fewer only where they would take more than
    ``VALIDATION_SHARE`` of the time, or where an interval would hold fewer than ``WHOLE_STEPS`` steps, or not even
    one: intervals are whole steps, so the time for a part of a step is lost in each. The shortest training, one step
    and one validation, is returned where nothing fits.

    Args:
        seconds: The time, in seconds.
        step: What a training step costs.
        validation: What one validation costs.
        longest: Most intervals, and most steps of an interval.
    """
    for share, least in product((VALIDATION_SHARE, 1.0), (WHOLE_STEPS, 1)):
        for count in range(longest.num_validations, 0, -1):
            checking = validation.of(count)
            steps = step.fitting(seconds - checking) // count
            if checking <= share * seconds and steps >= least:
                return Length(count, min(steps, longest.steps_per_interval))
    return Length(1, 1)
