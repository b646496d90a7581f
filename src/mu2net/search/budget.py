"""Budgets: when a cycle ends, and what one child may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from mu2net.errors import BudgetError, ConfigError
from mu2net.train.length import VALIDATION_SHARE

PAPER_EXAMPLES_PER_VALIDATION = 51_200
"""The most training examples between two validations (arXiv 2205.10937), used where time sets no other bound."""

TARGET_CHILDREN = 8
"""How many children a time budget is divided into, when everything would train."""


MAX_PASSES = 10
"""The most passes over the training split between two validations, where time bounds them."""


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
    """What one child may spend (docs/method.md: training a child).

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
class Plan:
    """What the children of a cycle are planned to spend.

    Args:
        child: The budget of every child; a bound of it where ``seconds`` are given.
        seconds: Seconds of every child, which trains on as many examples as fit; ``None`` where its examples are given.
        pass_seconds: About what it takes to send an image forward through the whole network, for agents that divide
            the budget themselves; ``None`` where it was not measured.
    """

    child: ChildBudget
    seconds: float | None = None
    pass_seconds: float | None = None


@dataclass(frozen=True)
class Cost:
    """What training and evaluation cost, in seconds or in another unit.

    Args:
        train: Cost of a training example.
        evaluate: Cost of a validated image.
    """

    train: float
    evaluate: float

    def of(self, budget: ChildBudget, num_validated: int) -> float:
        """Return the cost of one child.

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
        num_validations: Validations per child at most.
        passes: Passes over the training images per interval at most.
    """

    num_train: int
    num_validated: int
    batch_size: int
    num_validations: int
    passes: int = 1

    @property
    def smallest_interval(self) -> int:
        """Training examples of the smallest interval: one batch."""
        return min(self.batch_size, self.num_train)


IN_EXAMPLES = Cost(train=1.0, evaluate=0.0)
"""Training examples as the unit of cost."""


def full_child(work: Workload) -> ChildBudget:
    """Return a child's largest budget: the passes of the workload, but at most 51,200 examples, per interval."""
    return ChildBudget(work.num_validations, min(work.passes * work.num_train, PAPER_EXAMPLES_PER_VALIDATION))


def plan_child(total: float, cost: Cost, work: Workload, children: int = TARGET_CHILDREN) -> ChildBudget | None:
    """Return the budget of one child such that about ``children`` of them fit.

    Fewer validations, then fewer children, are planned where validation would take more than ``VALIDATION_SHARE`` of a
    child, or where an interval would not even hold one batch.

    Args:
        total: What all children may spend together, in the unit of ``cost``.
        cost: What training and evaluation cost.
        work: The sizes of the task.
        children: Number of children to aim for.

    Returns:
        The budget; ``None`` where not even one interval of one batch fits.
    """
    for share in (VALIDATION_SHARE, 1.0):
        for count, validations in product(range(children, 0, -1), range(work.num_validations, 0, -1)):
            interval = total / count / validations
            evaluation = work.num_validated * cost.evaluate
            examples = int((interval - evaluation) / cost.train)
            if examples >= work.smallest_interval and evaluation <= share * interval:
                return ChildBudget(validations, min(examples, full_child(work).examples_per_validation))
    return None


def plan_run(total: float, cost: Cost, work: Workload) -> ChildBudget | None:
    """Return the budget of one long run that spends everything: a baseline's.

    Args:
        total: What the run may spend, in the unit of ``cost``.
        cost: What training and evaluation cost.
        work: The sizes of the task.

    Returns:
        The budget; ``None`` where not even one interval of one batch fits.
    """
    child = plan_child(total, cost, work, children=1)
    if child is None:
        return None
    intervals = int(total / cost.of(ChildBudget(1, child.examples_per_validation), work.num_validated))
    return ChildBudget(max(child.num_validations, intervals), child.examples_per_validation)


def too_small(budget: Budget, cost: Cost, work: Workload, spent: float = 0.0, rounds: int = 1) -> BudgetError:
    """Return the error for a budget that does not hold one interval; it says how much is needed.

    Args:
        budget: The cycle's budget.
        cost: What training and evaluation cost, in seconds where the time is too short, else in examples.
        work: The sizes of the task.
        spent: Seconds that were spent on preparation, and will be again.
        rounds: Children that one worker must train at least, one after the other.
    """
    smallest = work.smallest_interval
    needed = math.ceil(1.5 * (spent + rounds * cost.of(ChildBudget(1, smallest), work.num_validated)))
    if budget.seconds is not None:
        what, give = f"time budget of {budget.seconds:g} s", f"--time {needed}s"
    else:
        what, give = f"budget of {budget.examples} training examples", f"--examples {smallest}"
    return BudgetError(
        f"a {what} is too small for one interval ({smallest} training examples and one validation of "
        f"{work.num_validated} images); nothing was published. Give at least {give}"
    )
