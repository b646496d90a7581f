"""Builders of anatomies, paths and populations, and a world in which a fake trainer assigns qualities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings

from mu2net.core.agents.base import Agent, BaseAgent, Trained
from mu2net.core.anatomy import HEAD, Anatomy, adapter_slot, block_slot
from mu2net.core.component import Component, Digest, Slot
from mu2net.core.path import ROOT_ID, Metrics, Path
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal
from mu2net.core.rng import generator
from mu2net.core.score import Scoring
from mu2net.core.selection import count_picks
from mu2net.core.space import mu2net_space

settings.register_profile("core", derandomize=True, database=None, deadline=None, max_examples=60)
settings.load_profile("core")

SIZES = {"patch_embed": 30, "tokens": 20, "block": 100, "norm": 4, "head": 10, "adapter": 7, "stem": 40, "features": 60}
PATCH_EMBED, TOKENS, NORM = Slot("patch_embed", "patch_embed"), Slot("tokens", "tokens"), Slot("norm", "norm")


def digest(*key: object) -> Digest:
    return Digest(hashlib.sha256(repr(key).encode()).hexdigest())


class Script:
    """Stands in for a generator: returns the scripted numbers, then the last one for ever."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = list(numbers)

    def random(self) -> float:
        return self._numbers.pop(0) if len(self._numbers) > 1 else self._numbers[0]


class Only:
    """Rates that apply exactly the named mutations."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, []

    def draw(self, name: str, rng: Any) -> bool:
        self.asked.append(name)
        return name in self.names

    def carried(self) -> dict[str, float]:
        return {}


class Build:
    """What the tests are built from; small numbers, no state."""

    script, only, digest = Script, Only, staticmethod(digest)
    head, adapter_slot, block_slot = HEAD, staticmethod(adapter_slot), staticmethod(block_slot)

    def vit(self, depth: int = 4, **changes: Any) -> Anatomy:
        size = SIZES["patch_embed"] + SIZES["tokens"] + SIZES["norm"] + depth * SIZES["block"]
        sizes = (16, 24, 32, 40, 48, 64)
        anatomy = Anatomy("vit", (PATCH_EMBED, TOKENS), depth, (NORM,), 32, sizes, size, 1000)
        return replace(anatomy, **changes)

    def lite(self) -> Anatomy:
        return Anatomy(
            backbone="efficientnet-lite0",
            stem=(Slot("stem", "stem"),),
            depth=5,
            tail=(Slot("features", "features"),),
            image_size=32,
            image_sizes=(32, 64),
            num_params=SIZES["stem"] + SIZES["features"] + 5 * SIZES["block"],
            flops=1000,
            min_layers=5,
            has_adapters=False,
            has_patches=False,
            forced_clones=frozenset(),
            sized_slots=frozenset(),
        )

    def scoring(self, anatomy: Anatomy, **changes: float) -> Scoring:
        return Scoring(anatomy.num_params, anatomy.flops, **changes)

    def component(self, slot: Slot, *key: object, task: str | None = None, num_params: int | None = None) -> Component:
        return Component(digest(slot.name, *key), slot, num_params or SIZES[slot.kind], task)

    def root(self, anatomy: Anatomy, **hparams: Any) -> Path:
        slots = anatomy.slots(anatomy.depth)[:-1]
        values = {"num_layers": anatomy.depth, "ds_image_size": anatomy.image_size, **hparams}
        return Path(ROOT_ID, None, tuple(self.component(slot, "root") for slot in slots), values)

    def path(
        self,
        anatomy: Anatomy,
        path_id: str,
        *,
        shared: Iterable[Component] = (),
        adapters: Iterable[int] = (),
        hparams: Mapping[str, Any] | None = None,
        quality: float = 0.5,
        parent: str = ROOT_ID,
        **fields: Any,
    ) -> Path:
        """Return a path whose components are its own, but for the shared ones; its task is the id up to ``/``."""
        task = path_id.split("/")[0]
        values = {**mu2net_space(anatomy).defaults(), **(hparams or {})}
        kept = {component.slot: component for component in shared}
        slots = anatomy.slots(int(values["num_layers"]), frozenset(adapters))
        components = tuple(kept.get(slot) or self.component(slot, path_id, task=task) for slot in slots)
        metrics = Metrics(quality, 1000)
        return Path(path_id, task, components, values, parent, metrics=metrics, **{"agent": "mu2net", **fields})

    def world(self, anatomy: Anatomy, seed: int = 0) -> World:
        return World(anatomy, self.root(anatomy), seed)


@dataclass
class World:
    """A system without networks: cycles run, and the qualities of children are drawn."""

    anatomy: Anatomy
    root: Path
    seed: int
    live: dict[str, Path] = field(default_factory=dict)
    history: dict[str, Path] = field(default_factory=dict)
    cycles: dict[str, int] = field(default_factory=dict)

    def start(self, task: str, agent: str) -> Population:
        picks = count_picks(self.history.values(), task, agent)
        return Population.start(task, self.root, self.live.values(), self.history, picks)

    def train(self, population: Population, proposal: Proposal, path_id: str, **fields: Any) -> Trained:
        """Return the child of a proposal: new components where it trains, and a drawn quality."""
        donors = {component.digest: component for path in population.candidates for component in path.components}
        components = tuple(
            Component(digest(path_id, plan.slot.name), plan.slot, SIZES[plan.slot.kind], population.task)
            if plan.is_trainable
            else donors[plan.digest]
            for plan in proposal.slots
        )
        metrics = Metrics(float(generator(self.seed, path_id).integers(0, 8)) / 8, 100 * len(components))
        record = (proposal.mutations, proposal.rates)
        values = (components, proposal.hparams, proposal.parent_id)
        return Trained(
            proposal,
            Path(path_id, population.task, *values, metrics=metrics, mutations=record[0], rates=record[1], **fields),
        )

    def generation(self, agent: Agent, population: Population, n: int, **fields: Any) -> Sequence[Trained]:
        cycle, index = self.cycles.get(population.task, 0), population.generation
        name = f"{population.task}/{cycle}/{index}"
        proposals = agent.propose(population, generator(self.seed, name), n)
        return [
            self.train(population, proposal, f"{name}/{child}", agent=agent.name, **fields)
            for child, proposal in enumerate(proposals)
        ]

    def publish(self, agent: BaseAgent, population: Population) -> Path:
        best = agent.best(population)
        assert best is not None
        self.live.pop(population.task, None)
        self.live[population.task] = best
        self.cycles[population.task] = self.cycles.get(population.task, 0) + 1
        return best


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()


@pytest.fixture(scope="session")
def vit(build: Build) -> Anatomy:
    return build.vit()


@pytest.fixture(scope="session")
def lite(build: Build) -> Anatomy:
    return build.lite()


@pytest.fixture(scope="session")
def root(build: Build, vit: Anatomy) -> Path:
    return build.root(vit)
