"""Baselines on equal terms: independent runs from the root, without mutation (docs/method.md: baselines)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mu2net.core.agents.base import BaseAgent
from mu2net.core.anatomy import HEAD, block_index
from mu2net.core.component import Slot
from mu2net.core.path import Mutation, Path
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.core.space import Space, mu2net_space, with_regularization
from mu2net.errors import ConfigError


@dataclass(frozen=True)
class Baseline(BaseAgent):
    """A run from the root that trains a fixed set of slots with the default hyperparameters."""

    is_baseline = True

    @property
    def own_space(self) -> Space:
        """mu2Net's hyperparameters, so that all start from the same values, and regularisation, which is off."""
        return with_regularization(mu2net_space(self.anatomy), self.anatomy)

    def trains(self, slot: Slot) -> bool:
        """Return whether a pretrained slot is trained."""
        raise NotImplementedError

    def adapters(self) -> frozenset[int]:
        """Return the blocks that get an adapter."""
        return frozenset()

    def keeps(self, population: Population, path: Path) -> bool:  # noqa: ARG002
        """Return ``True``: runs are independent, the best is published."""
        return True

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:  # noqa: ARG002
        """Return n equal runs; they differ by the seed that they are trained with."""
        hparams = self.space.defaults()
        is_resized = hparams["ds_image_size"] != self.anatomy.image_size_of(population.root.hparams)
        plans, mutations = [], []
        for slot in self.anatomy.slots(int(hparams["num_layers"]), self.adapters()):
            source = population.root.component(slot.name)
            if slot == HEAD or source is None:
                plans.append(SlotPlan(slot, "fresh", None))
                if slot != HEAD:
                    mutations.append(Mutation(f"add:{slot.name}", is_forced=True))
            elif is_resized and slot.name in self.anatomy.sized_slots:
                plans.append(SlotPlan(slot, "resample", source.digest))
                mutations.append(Mutation(f"resample:{slot.name}", is_forced=True))
            elif self.trains(slot):
                plans.append(SlotPlan(slot, "clone", source.digest))
                mutations.append(Mutation(f"clone:{slot.name}", is_forced=True))
            else:
                plans.append(SlotPlan(slot, "share", source.digest))
        run = Proposal(population.root.id, "root", tuple(plans), hparams, tuple(mutations))
        return [run] * n


@dataclass(frozen=True)
class FineTune(Baseline):
    """Standard fine-tuning: everything trains."""

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "finetune"

    def trains(self, slot: Slot) -> bool:  # noqa: ARG002
        """Return ``True``."""
        return True


@dataclass(frozen=True)
class Linear(Baseline):
    """A linear probe: only the head and the final norm train."""

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "linear"

    def trains(self, slot: Slot) -> bool:
        """Return whether the slot is the final norm."""
        return slot.name in self.anatomy.forced_clones


@dataclass(frozen=True)
class Freeze(Baseline):
    """Fine-tuning of the blocks from ``first`` on, and of all that follows them.

    Args:
        first: Index of the lowest block that trains; blocks below it and the stem stay frozen.

    Raises:
        ConfigError: The network has no such block.
    """

    first: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.anatomy.depth:
            raise ConfigError(
                f"agent 'freeze:{self.first}' does not fit the root, which has {self.anatomy.depth} blocks; "
                f"expected freeze:0 to freeze:{self.anatomy.depth}"
            )

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return f"freeze:{self.first}"

    def trains(self, slot: Slot) -> bool:
        """Return whether the slot lies at or above the first block that trains."""
        if slot.kind == "block":
            return block_index(slot) >= self.first
        return slot in self.anatomy.tail


@dataclass(frozen=True)
class Adapters(Baseline):
    """Residual adapters before all blocks; they, the final norm and the head train.

    Raises:
        ConfigError: The backbone takes no adapters.
        RangeError: The inner size is not in the list of ``adapter_dim``.
    """

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return f"adapters:{self.changes['adapter_dim']}"

    def __post_init__(self) -> None:
        if not self.anatomy.has_adapters:
            raise ConfigError(
                f"agent 'adapters' needs a root that takes adapters; {self.anatomy.backbone!r} does not "
                "(choose a ViT root, or agent 'finetune', 'linear' or 'freeze:K')"
            )
        _ = self.space

    def trains(self, slot: Slot) -> bool:
        """Return whether the slot is the final norm."""
        return slot.name in self.anatomy.forced_clones

    def adapters(self) -> frozenset[int]:
        """Return all blocks."""
        return frozenset(range(int(self.space["num_layers"].default)))
