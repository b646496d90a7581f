"""Drawing a child from its parent (docs/method.md: mutating a child; arXiv 2205.10937, 2205.12755, 2209.07326)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mu2net.core.anatomy import HEAD, Anatomy, adapter_slot, block_slot
from mu2net.core.component import Component, Slot
from mu2net.core.path import Mutation, Path, Value
from mu2net.core.population import Population
from mu2net.core.proposal import Origin, Proposal, SlotPlan
from mu2net.core.space import RATE, Space


class Rates(Protocol):
    """Where the probability of each single mutation comes from."""

    def draw(self, name: str, rng: np.random.Generator) -> bool:
        """Return whether the mutation ``name`` is applied."""
        ...

    def carried(self) -> dict[str, float]:
        """Return the probabilities that the child stores."""
        ...


@dataclass(frozen=True)
class ConstantRate:
    """One probability for all mutations (muNet, mu2Net after ``mu`` itself was mutated)."""

    mu: float

    def draw(self, name: str, rng: np.random.Generator) -> bool:  # noqa: ARG002 (one rate for all names)
        """Return whether a mutation is applied."""
        return bool(rng.random() < self.mu)

    def carried(self) -> dict[str, float]:
        """Return nothing: the probability is a hyperparameter or fixed."""
        return {}


class InheritedRates:
    """A probability per mutation, inherited, and itself mutated before it is used (mu2Net+, arXiv 2209.07326).

    The probability moves one step with its own current value as the chance to do so, and is stored
    whether or not the mutation is then applied.
    """

    def __init__(self, inherited: Mapping[str, float]) -> None:
        self._rates = dict(inherited)

    def draw(self, name: str, rng: np.random.Generator) -> bool:
        """Mutate and store the probability of a mutation, then return whether it is applied."""
        rate = RATE.values[RATE.index(self._rates.get(name, RATE.default))]
        if rng.random() < float(rate):
            rate = RATE.step(rate, rng)
        self._rates[name] = float(rate)
        return bool(rng.random() < float(rate))

    def carried(self) -> dict[str, float]:
        """Return the probabilities that the child stores."""
        return dict(self._rates)


class Chosen:
    """Rates that clone exactly some slots and change nothing else.

    Args:
        slots: Names of the slots.
    """

    def __init__(self, slots: Collection[str]) -> None:
        self._names = frozenset(f"clone:{slot}" for slot in slots)

    def draw(self, name: str, rng: np.random.Generator) -> bool:  # noqa: ARG002 - nothing is drawn
        """Return whether a mutation is one of the clones."""
        return name in self._names

    def carried(self) -> dict[str, float]:
        """Return nothing: there are no probabilities."""
        return {}


def mutate_data_hparams(
    best: Mapping[str, Value], space: Space, mu: float, rng: np.random.Generator
) -> dict[str, Value]:
    """Return the ``ds_*`` values of a generation: the best path's, each moved one step with probability mu.

    Args:
        best: Hyperparameters of the best path (the space's defaults while there is none).
        space: The agent's hyperparameters.
        mu: The default mutation probability.
        rng: Source of the draws.
    """
    values = space.inherit(best)
    return {
        name: space[name].step(values[name], rng) if rng.random() < mu else values[name]
        for name in space
        if name.startswith("ds_")
    }


@dataclass
class ChildDraw:
    """One child while it is being drawn.

    Args:
        population: The population of the cycle.
        anatomy: The shape of the network.
        space: The agent's hyperparameters.
        parent: The path to mutate.
        rates: Probabilities of the mutations.
        rng: Source of the draws.
    """

    population: Population
    anatomy: Anatomy
    space: Space
    parent: Path
    rates: Rates
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self._mutations: list[Mutation] = []
        self._hparams = self.space.inherit(self.parent.hparams)
        self._record_changes(
            {name: self.parent.hparams.get(name, value) for name, value in self._hparams.items()},
            is_forced=True,
        )

    def _record_changes(self, before: Mapping[str, Value], *, is_forced: bool = False) -> None:
        for name, old in before.items():
            new = self._hparams[name]
            if new != old:
                self._mutations.append(Mutation(f"hp:{name}", old, new, is_forced))

    def set_hparams(self, values: Mapping[str, Value], *, is_forced: bool = False) -> None:
        """Set hyperparameters that were drawn elsewhere (``mu``, or the generation's ``ds_*``)."""
        before = {name: self._hparams[name] for name in values}
        self._hparams.update(values)
        self._record_changes(before, is_forced=is_forced)

    def mutate_hparams(self) -> None:
        """Move every ``opt_*``, ``num_layers`` and ``adapter_dim`` one step with its probability."""
        before = dict(self._hparams)
        for name in self.space:
            if name == "mu" or name.startswith("ds_"):
                continue
            if self.rates.draw(f"hp:{name}", self.rng):
                self._hparams[name] = self.space[name].step(self._hparams[name], self.rng)
        self._record_changes(before)

    def propose(
        self,
        origin: Origin,
        *,
        adds_adapters: bool,
        inherits_momentum: bool,
        is_mutated: bool = True,
        measures_statistics: bool = False,
    ) -> Proposal:
        """Draw the slots and return the child.

        Args:
            origin: Which rule accepted the parent.
            adds_adapters: Whether blocks may gain adapters.
            inherits_momentum: Whether clones start with the momentum of their source.
            is_mutated: Whether slots are cloned at all; otherwise only a new head trains.
            measures_statistics: Whether batch norms of clones take their statistics from the task's images.
        """
        num_layers = int(self._hparams["num_layers"])
        adapters = {index for index in self.parent.adapters if index < num_layers}
        resized = self._adapters_change_size()
        added = self._draw_adapters(num_layers, adapters) if adds_adapters and is_mutated else set()
        plans = []
        for slot in self.anatomy.slots(num_layers, adapters | added):
            if slot == HEAD:
                plans.append(self._plan_head())
            elif slot.kind == "adapter" and (slot.name in {adapter_slot(i).name for i in added} or resized):
                plans.append(self._plan_new_adapter(slot, is_added=slot.name not in self._parent_slots()))
            else:
                plans.append(self._plan_slot(slot, is_mutated=is_mutated))
        self._note_dropped(num_layers)
        return Proposal(
            parent_id=self.parent.id,
            origin=origin,
            slots=tuple(plans),
            hparams=dict(self._hparams),
            mutations=tuple(self._mutations),
            rates=self.rates.carried(),
            inherits_momentum=inherits_momentum,
            measures_statistics=measures_statistics,
        )

    def _parent_slots(self) -> set[str]:
        return {component.slot.name for component in self.parent.components}

    def _adapters_change_size(self) -> bool:
        """Return whether the inner size changed: one inner size per path, so all adapters start anew."""
        return self._hparams.get("adapter_dim") != self.parent.hparams.get("adapter_dim")

    def _draw_adapters(self, num_layers: int, present: set[int]) -> set[int]:
        if not self.anatomy.has_adapters:
            return set()
        absent = [index for index in range(num_layers) if index not in present]
        return {index for index in absent if self.rates.draw(f"add:{adapter_slot(index).name}", self.rng)}

    def _plan_new_adapter(self, slot: Slot, *, is_added: bool) -> SlotPlan:
        self._mutations.append(Mutation(f"{'add' if is_added else 'resize'}:{slot.name}", is_forced=not is_added))
        return SlotPlan(slot, "fresh", None)

    def _plan_head(self) -> SlotPlan:
        own = self.parent.component(HEAD.name)
        if self.parent.task != self.population.task or own is None:
            return SlotPlan(HEAD, "fresh", None)
        return SlotPlan(HEAD, "clone", own.digest)

    def _plan_slot(self, slot: Slot, *, is_mutated: bool) -> SlotPlan:
        if slot.name in self.anatomy.sized_slots and self._size_changed():
            source = self._same_size_ancestor(slot)
            if source is None:
                self._mutations.append(Mutation(f"resample:{slot.name}", is_forced=True))
                return SlotPlan(slot, "resample", self._root_component(slot).digest)
        else:
            source = self.parent.component(slot.name) or self._ancestor_component(slot)
            if slot.name not in self._parent_slots():
                self._mutations.append(Mutation(f"attach:{slot.name}", is_forced=True))
        if source is None:
            return SlotPlan(slot, "fresh", None)
        return self._share_or_clone(source, is_mutated=is_mutated)

    def _share_or_clone(self, source: Component, *, is_mutated: bool) -> SlotPlan:
        slot, name = source.slot, f"clone:{source.slot.name}"
        is_forced = self._must_clone(source, is_mutated=is_mutated)
        if is_forced or (is_mutated and self.rates.draw(name, self.rng)):
            self._mutations.append(Mutation(name, is_forced=is_forced))
            return SlotPlan(slot, "clone", source.digest)
        return SlotPlan(slot, "share", source.digest)

    def _must_clone(self, source: Component, *, is_mutated: bool) -> bool:
        """Return whether the method demands a clone.

        That is ``norm`` in a mutated child, and what only this task uses (published by it or not): it goes on
        training, as a copy, never in place. The root's components stay frozen, whoever uses them.
        """
        if is_mutated and source.slot.name in self.anatomy.forced_clones:
            return True
        return source.digest not in self.population.sharers and source.digest not in self.population.root.digests

    def _size_changed(self) -> bool:
        return self._hparams["ds_image_size"] != self.anatomy.image_size_of(self.parent.hparams)

    def _same_size_ancestor(self, slot: Slot) -> Component | None:
        for path in self.population.ancestors(self.parent):
            if self.anatomy.image_size_of(path.hparams) == self._hparams["ds_image_size"]:
                found = path.component(slot.name)
                if found is not None:
                    return found
        return None

    def _ancestor_component(self, slot: Slot) -> Component | None:
        for path in self.population.ancestors(self.parent):
            found = path.component(slot.name)
            if found is not None:
                return found
        return None

    def _root_component(self, slot: Slot) -> Component:
        found = self.population.root.component(slot.name)
        if found is None:
            raise ValueError(f"the root has no slot {slot.name!r}")
        return found

    def _note_dropped(self, num_layers: int) -> None:
        for index in range(num_layers, self.anatomy.depth):
            for slot in (adapter_slot(index), block_slot(index)):
                if slot.name in self._parent_slots():
                    self._mutations.append(Mutation(f"drop:{slot.name}", is_forced=True))
