"""Paths: the models of tasks, as pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mu2net.core.component import Component, Digest

Value = int | float | str | bool
"""A hyperparameter value."""

ROOT_ID = "root"
"""The id of the path that a system starts from."""


@dataclass(frozen=True)
class Mutation:
    """One change that was drawn for a child; stored with it, so that the lineage can be read.

    Args:
        name: What changed: ``hp:NAME``, ``clone:SLOT``, ``add:SLOT``, ``drop:SLOT``, ``attach:SLOT``,
            ``resize:SLOT`` or ``resample:SLOT``.
        before: The value before, for ``hp:`` mutations.
        after: The value after, for ``hp:`` mutations.
        is_forced: Whether the method demands it, instead of a draw.
    """

    name: str
    before: Value | None = None
    after: Value | None = None
    is_forced: bool = False


@dataclass(frozen=True)
class Metrics:
    """What was measured on a path.

    Args:
        quality: Top-1 accuracy on the validation split, the best of ``validations``; in [0, 1].
        flops: FLOPs of one forward pass, batch 1, at the path's own input size.
        validations: Validation accuracy after each interval.
        examples: Training examples that were used.
        seconds: Wall-clock seconds of training and validation.
        test: Top-1 accuracy on the test split; only published paths have it.
        extra: Anything else worth keeping, JSON values only (precision, intervals planned, …).
    """

    quality: float
    flops: int
    validations: tuple[float, ...] = ()
    examples: int = 0
    seconds: float = 0.0
    test: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Path:
    """The model of one task: one component for every slot, in the order of computation.

    Args:
        id: ``"root"``, or ``TASK/CYCLE/GENERATION/CHILD``.
        task: The task that it solves; ``None`` for the root.
        components: One component per slot, in the order of computation.
        hparams: Hyperparameter values by name.
        parent_id: The path that it was cloned from; ``None`` for the root.
        agent: Name of the agent that made it.
        metrics: What was measured; ``None`` before training and for the root.
        is_private: Whether it may never seed another task.
        mutations: What was drawn for it.
        rates: Mutation probabilities that it carries (mu2Net+).
        influence: The tasks whose data shaped any of its parameters, its own included (docs/format.md: provenance);
            empty for the root, and before it is recorded.
    """

    id: str
    task: str | None
    components: tuple[Component, ...]
    hparams: Mapping[str, Value]
    parent_id: str | None = None
    agent: str = ""
    metrics: Metrics | None = None
    is_private: bool = False
    mutations: tuple[Mutation, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    influence: frozenset[str] = frozenset()

    @property
    def quality(self) -> float:
        """Validation accuracy in [0, 1]; 0.0 before training and for the root."""
        return self.metrics.quality if self.metrics else 0.0

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The digests of the components, in the order of computation."""
        return tuple(component.digest for component in self.components)

    @property
    def chain(self) -> tuple[tuple[str, Digest], ...]:
        """The (slot name, digest) pairs, in the order of computation."""
        return tuple((component.slot.name, component.digest) for component in self.components)

    @property
    def num_params(self) -> int:
        """Number of parameters of all components."""
        return sum(component.num_params for component in self.components)

    @property
    def adapters(self) -> frozenset[int]:
        """Indices of the blocks that have an adapter before them."""
        return frozenset(
            int(component.slot.name.removeprefix("adapter_"))
            for component in self.components
            if component.slot.kind == "adapter"
        )

    def component(self, slot: str) -> Component | None:
        """Return the component in a slot, or ``None`` where the path has no such slot."""
        return next((component for component in self.components if component.slot.name == slot), None)

    def with_metrics(self, **changes: Any) -> Path:
        """Return the same path with some of its metrics replaced.

        Raises:
            ValueError: The path was never measured.
        """
        if self.metrics is None:
            raise ValueError(f"path {self.id!r} has no metrics yet")
        return replace(self, metrics=replace(self.metrics, **changes))
