"""Budgets: when a cycle ends, and what one child may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mu2net.errors import BudgetError, ConfigError

PAPER_EXAMPLES_PER_VALIDATION = 51_200
"""The most training examples between two validations (arXiv 2205.10937), used where time sets no other bound."""

TARGET_CHILDREN = 12
"""How many children a time budget is divided into, when everything would train."""


@dataclass(frozen=True)
class Budget:
    """When a cycle ends; whichever bound is reached first.

    Args:
        seconds: Wall-clock seconds of the cycle, over all of its runs; ``None`` for no bound.
        children: Number of sampled children; ``None`` for no bound.
        examples: Number of training examples over all children; ``None`` for no bound.

    Raises:
        ConfigError: There is no bound at all, or a bound is not positive.
    """

    seconds: float | None = None
    children: int | None = None
    examples: int | None = None

    def __post_init__(self) -> None:
        bounds = {"time": self.seconds, "children": self.children, "examples": self.examples}
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        if not given:
            raise ConfigError("a cycle needs a budget; give a time, a number of children or a number of examples")
        for name, bound in given.items():
            if not (bound > 0 and math.isfinite(bound)):
                raise ConfigError(f"the {name} budget is {bound}; expected a positive number")


@dataclass(frozen=True)
class ChildBudget:
    """What one child may spend (METHOD: training a child).

    Args:
        num_validations: Number of intervals; each ends with a validation.
        examples_per_validation: Training examples per interval, at most one pass over the training split.
    """

    num_validations: int
    examples_per_validation: int

    @property
    def examples(self) -> int:
        """Training examples of a whole child."""
        return self.num_validations * self.examples_per_validation


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains the whole network on a task, and evaluates it.

    Args:
        train: Seconds per training example, with everything trainable.
        evaluate: Seconds per validated image.
    """

    train: float
    evaluate: float

    def seconds(self, budget: ChildBudget, num_validated: int) -> float:
        """Return the seconds that one child would take.

        Args:
            budget: The child's budget.
            num_validated: Images per validation.
        """
        interval = budget.examples_per_validation * self.train + num_validated * self.evaluate
        return budget.num_validations * interval


@dataclass(frozen=True)
class Workload:
    """The sizes that a child's budget is planned for.

    Args:
        num_train: Training images.
        num_validated: Images per validation.
        batch_size: Images per training step.
        num_validations: Validations per child that the user asked for.
    """

    num_train: int
    num_validated: int
    batch_size: int
    num_validations: int


def full_child(work: Workload) -> ChildBudget:
    """Return a child's budget where time sets no bound: one pass, at most 51,200 examples, per interval."""
    return ChildBudget(work.num_validations, min(work.num_train, PAPER_EXAMPLES_PER_VALIDATION))


def plan_child(seconds: float, speed: Speed, work: Workload, children: int = TARGET_CHILDREN) -> ChildBudget:
    """Return the budget of one child such that about ``children`` of them fit a time.

    Fewer and fewer children, then fewer validations, are planned where an interval would not even hold one batch.

    Args:
        seconds: Seconds that all children may take together.
        speed: How fast this machine is on this task.
        work: The sizes of the task.
        children: Number of children to aim for.

    Raises:
        BudgetError: Not even one interval of one batch fits; says how much time is needed.
    """
    smallest = min(work.batch_size, work.num_train)
    for validations, divisor in _plans(work.num_validations, children):
        interval = seconds / divisor / validations
        examples = int((interval - work.num_validated * speed.evaluate) / speed.train)
        if examples >= smallest:
            return ChildBudget(validations, min(examples, full_child(work).examples_per_validation))
    needed = speed.seconds(ChildBudget(1, smallest), work.num_validated)
    raise BudgetError(
        f"a time budget of {seconds:.1f} s is too small for one interval ({smallest} training examples and one "
        f"validation of {work.num_validated} images need about {needed:.1f} s); nothing was published. "
        f"Give at least {math.ceil(needed * 1.5)}s"
    )


def _plans(num_validations: int, children: int) -> list[tuple[int, int]]:
    """Return (validations, children) from the most wanted plan to the least."""
    plans = [(num_validations, count) for count in range(children, 0, -1)]
    return plans + [(count, 1) for count in range(num_validations - 1, 0, -1)]
