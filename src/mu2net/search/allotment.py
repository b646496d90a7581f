"""What is left of a cycle's budget, and how much of it the next children get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from mu2net.core.agents import Stage
from mu2net.core.path import Metrics, Path
from mu2net.search.budget import Budget, Plan
from mu2net.search.clock import Clock
from mu2net.train.group import TrainConfig

_WORTHWHILE = 0.3
"""The last child of a time budget trains if at least this share of a child's budget is left for it."""


@dataclass(frozen=True)
class Allotment:
    """Divides what is left among the children to come.

    Args:
        plan: What children are planned to spend.
        budget: When the cycle ends.
        clock: Its time.
        generation_size: Children that are sampled together.
        parallelism: Children that train at the same time.
        num_train: Training images.
        is_baseline: Whether there is one generation only.
    """

    plan: Plan
    budget: Budget
    clock: Clock
    generation_size: int
    parallelism: int
    num_train: int
    is_baseline: bool

    def size(self, history: Sequence[Path], stage: Stage | None = None) -> int:
        """Return how many children the budget allows for the next generation.

        Args:
            history: All children of the cycle so far.
            stage: What the agent says about it; ``None`` where it leaves that to the cycle.
        """
        if stage is not None:
            return self._staged_size(history, stage)
        if self.is_baseline:
            return 0 if history else self.generation_size
        budget, bounds = self.budget, [self.generation_size]
        if budget.children is not None:
            bounds.append(budget.children - len(history))
        if budget.examples is not None:
            left = budget.examples - sum(metrics.examples for metrics in _metrics(history))
            bounds.append(left // self.plan.child.examples)
        if budget.seconds is not None:
            bounds.append(self._fitting(history))
        return max(0, min(bounds))

    def _staged_size(self, history: Sequence[Path], stage: Stage) -> int:
        """Return the size that the agent wants, as far as the budget allows it; none where too little time is left."""
        wanted = self.generation_size if stage.children is None else stage.children
        budget, bounds = self.budget, [wanted]
        if budget.children is not None:
            bounds.append(budget.children - len(history))
        if budget.examples is not None:
            bounds.append(self._staged_examples(history, stage, wanted))
        if budget.seconds is not None and self.clock.remaining() < stage.least * budget.seconds:
            return 0
        return max(0, min(bounds))

    def child(
        self, config: TrainConfig, history: Sequence[Path], stage: Stage | None = None, size: int = 1
    ) -> TrainConfig:
        """Return how the next children train: as planned, fitted to the time that is left.

        Args:
            config: How children train; its budget is not read.
            history: All children of the cycle so far.
            stage: What the agent says about them; ``None`` where it leaves that to the cycle.
            size: How many they are.
        """
        if stage is not None:
            return self._staged_child(config, history, stage, size)
        child, left = self.plan.child, self.clock.remaining()
        config = replace(config, num_validations=child.num_validations)
        if self.plan.seconds is not None:
            seconds = self._seconds(self.plan.seconds, left, len(history))
            return replace(config, examples_per_validation=child.examples_per_validation, seconds=seconds)
        expected, examples = self._expected_seconds(history), child.examples_per_validation
        if self.budget.seconds is not None and expected is not None:
            fitted = max(int(examples * min(1.0, left / expected)), config.batch_size)
            examples = min(fitted, self.num_train)
        return replace(config, examples_per_validation=examples)

    def _staged_child(self, config: TrainConfig, history: Sequence[Path], stage: Stage, size: int) -> TrainConfig:
        """Return how the children of a stage train: they divide its share of what is left equally.

        Children that are compared train on one worker, one after the other.
        """
        child = self.plan.child
        validations, examples = stage.validations or child.num_validations, child.examples_per_validation
        examples = min(examples, stage.examples or examples)
        if self.budget.examples is not None:
            examples = max(1, min(examples, self._staged_examples(history, stage, size) // validations))
        seconds = None
        if self.plan.seconds is not None:
            rounds = size if stage.is_comparison else ceil(size / self.parallelism)
            seconds = stage.share * self.clock.remaining() / rounds
        images = config.max_validation_examples
        if stage.validated is not None:
            images = min(stage.validated, images or stage.validated)
        return replace(
            config,
            num_validations=validations,
            examples_per_validation=examples,
            seconds=seconds,
            is_comparison=stage.is_comparison,
            passes=stage.passes,
            max_validation_examples=images,
        )

    def _staged_examples(self, history: Sequence[Path], stage: Stage, size: int) -> int:
        """Return the training examples of each child of a stage, where examples bound the cycle."""
        left = (self.budget.examples or 0) - sum(metrics.examples for metrics in _metrics(history))
        return int(stage.share * left / max(size, 1))

    def _seconds(self, planned: float, left: float, done: int) -> float:
        """Return the seconds of the next children; the last one gets what is left.

        Where the number of children is bounded too they share the time that is left, so that none of it is lost when
        children turn out cheaper than planned.
        """
        children = self.budget.children
        if children is None or self.budget.seconds is None or self.is_baseline:
            return min(planned, left)
        return left / ceil(max(children - done, 1) / self.parallelism)

    def _fitting(self, history: Sequence[Path]) -> int:
        """Return how many children fit the time that is left; one that fits only in part counts as one."""
        expected = self._expected_seconds(history)
        if expected is None:
            return self.generation_size
        share = self.clock.remaining() / expected
        return (int(share) or int(share >= _WORTHWHILE)) * self.parallelism

    def _expected_seconds(self, history: Sequence[Path]) -> float | None:
        """Return what a child takes: as the children so far, before that as planned; ``None`` where nothing is known.

        Children whose examples are given, not their seconds, are compared by their pace.
        """
        measured = _metrics(history)
        if not measured:
            return self.plan.seconds
        seconds = sum(metrics.seconds for metrics in measured)
        if self.plan.seconds is not None:
            return max(seconds / len(measured), 1e-6)
        return max(seconds / sum(metrics.examples for metrics in measured) * self.plan.child.examples, 1e-6)


def _metrics(history: Sequence[Path]) -> list[Metrics]:
    return [path.metrics for path in history if path.metrics and path.metrics.examples]
