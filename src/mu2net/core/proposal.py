"""Proposals: what an agent asks to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mu2net.core.component import Digest, Slot
from mu2net.core.path import Mutation, Value

Action = Literal["share", "clone", "fresh", "resample"]
"""What happens in a slot.

``share``: run the component frozen. ``clone``: train a copy. ``fresh``: train a new one (heads start at zero, adapters
and blocks as the identity). ``resample``: train a copy that is fitted to the child's input size first.
"""

Origin = Literal["own", "seed", "uniform", "root"]
"""Which rule of parent selection accepted the parent."""


@dataclass(frozen=True)
class SlotPlan:
    """What a child does in one slot.

    Args:
        slot: The slot.
        action: What happens there; everything but ``share`` is trained.
        digest: The component that is shared, cloned or resampled; ``None`` for ``fresh``.
    """

    slot: Slot
    action: Action
    digest: Digest | None

    def __post_init__(self) -> None:
        if (self.digest is None) != (self.action == "fresh"):
            raise ValueError(f"slot {self.slot.name!r}: action {self.action!r} with digest {self.digest!r}")

    @property
    def is_trainable(self) -> bool:
        """Whether the child trains this slot."""
        return self.action != "share"


@dataclass(frozen=True)
class Proposal:
    """A child that an agent asks to be trained.

    Args:
        parent_id: The path that it is cloned from.
        origin: Which rule accepted the parent.
        slots: One plan per slot, in the order of computation.
        hparams: All hyperparameters.
        mutations: What was drawn.
        rates: Mutation probabilities that the child carries (mu2Net+).
        inherits_momentum: Whether a clone starts with its source's momentum (mu2Net) or from zero (muNet).
        measures_statistics: Whether the batch norms of trained slots take their statistics from the task's images
            before training, instead of keeping those of their sources.
    """

    parent_id: str
    origin: Origin
    slots: tuple[SlotPlan, ...]
    hparams: Mapping[str, Value]
    mutations: tuple[Mutation, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    inherits_momentum: bool = False
    measures_statistics: bool = False

    @property
    def trainable(self) -> tuple[Slot, ...]:
        """The slots that the child trains, in the order of computation."""
        return tuple(plan.slot for plan in self.slots if plan.is_trainable)
