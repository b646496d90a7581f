"""The evolving agents: muNet, mu2Net and mu2Net+.

They differ in how a parent is sampled, where mutation probabilities come from, and what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mu2net.core.agents.base import BaseAgent, Trained
from mu2net.core.mutation import ChildDraw, ConstantRate, InheritedRates, Rates, mutate_data_hparams
from mu2net.core.path import Path, Value
from mu2net.core.population import Population
from mu2net.core.proposal import Origin, Proposal
from mu2net.core.selection import decay_pick, rotated_past, uniform_pick
from mu2net.core.space import MU, RATE, Space, mu2net_plus_space, mu2net_space, munet_space


@dataclass(frozen=True)
class EvolvingAgent(BaseAgent):
    """A generation: draw ``ds_*`` once, then sample a parent and mutate it for every child."""

    default_mu = float(MU.default)
    adds_adapters = True
    inherits_momentum = True

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Return n children; picks are counted at once, so that siblings see them.

        Child i depends on the generator's seed and on the children before it, not on ``n``.
        """
        shared, *streams = rng.spawn(n + 1)
        best = self.best(population)
        values = best.hparams if best else self.space.defaults()
        data_hparams = mutate_data_hparams(values, self.space, self.data_mu, shared)
        proposals = []
        for stream in streams:
            parent, origin = self.sample_parent(population, stream)
            proposals.append(self.mutate(population, parent, origin, data_hparams, stream))
            population = self.picked(population, parent.id, origin)
        return proposals

    @property
    def data_mu(self) -> float:
        """The default mutation probability; the generation's ``ds_*`` values are drawn with it."""
        return float(self.space["mu"].default) if "mu" in self.space else self.default_mu

    def sample_parent(self, population: Population, rng: np.random.Generator) -> tuple[Path, Origin]:
        """Return the parent of the next child, and the rule that accepted it."""
        raise NotImplementedError

    def rates(self, parent: Path, draw: Mapping[str, Value]) -> Rates:
        """Return the mutation probabilities of a child."""
        raise NotImplementedError

    def mutated_mu(self, parent: Path, rng: np.random.Generator) -> dict[str, Value]:  # noqa: ARG002
        """Return the child's new ``mu``, where the agent has one."""
        return {}

    def mutate(
        self,
        population: Population,
        parent: Path,
        origin: Origin,
        data_hparams: Mapping[str, Value],
        rng: np.random.Generator,
    ) -> Proposal:
        """Return one mutated child."""
        first = self.mutated_mu(parent, rng)
        draw = ChildDraw(population, self.anatomy, self.space, parent, self.rates(parent, first), rng)
        draw.set_hparams(first)
        draw.mutate_hparams()
        draw.set_hparams(data_hparams)
        return draw.propose(origin, adds_adapters=self.adds_adapters, inherits_momentum=self.inherits_momentum)

    def picked(self, population: Population, parent_id: str, origin: Origin) -> Population:
        """Return the population with one more pick counted."""
        picks = {**population.picks, parent_id: population.picks.get(parent_id, 0) + 1}
        if origin == "seed" and parent_id in population.queue:
            return replace(population, picks=picks, queue=rotated_past(population.queue, parent_id))
        return replace(population, picks=picks)

    def observe(self, population: Population, trained: Sequence[Trained]) -> Population:
        """Return the population with the kept children, picks counted and seeds rotated, one generation on."""
        observed = super().observe(population, trained)
        for child in trained:
            population = self.picked(population, child.proposal.parent_id, child.proposal.origin)
        return replace(observed, queue=population.queue)


@dataclass(frozen=True)
class MuNet(EvolvingAgent):
    """muNet (arXiv 2205.10937): every seed once unmutated, then decay over the own population, then uniform."""

    default_mu = 0.1
    inherits_momentum = False
    newest_wins_ties = False

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "munet"

    @property
    def own_space(self) -> Space:
        """The agent's hyperparameters."""
        return munet_space(self.anatomy)

    def beats(self, child: float, parent: float) -> bool:
        """Return whether a child is strictly better than its parent."""
        return child > parent

    def rates(self, parent: Path, draw: Mapping[str, Value]) -> Rates:  # noqa: ARG002
        """Return the fixed mutation probability."""
        return ConstantRate(self.default_mu)

    def sample_parent(self, population: Population, rng: np.random.Generator) -> tuple[Path, Origin]:
        """Return an unused seed (newest first), else by decay an own path, else any path."""
        for seed in reversed(population.seeds):
            if not population.picks.get(seed.id):
                return seed, "seed"
        parent = decay_pick(self.ranked(population), population.picks, rng)
        return (parent, "own") if parent else (uniform_pick(population.candidates, rng), "uniform")

    def mutate(
        self,
        population: Population,
        parent: Path,
        origin: Origin,
        data_hparams: Mapping[str, Value],
        rng: np.random.Generator,
    ) -> Proposal:
        """Return a child: a seed's first one only trains a new head, all others are mutated."""
        if origin != "seed":
            return super().mutate(population, parent, origin, data_hparams, rng)
        draw = ChildDraw(population, self.anatomy, self.space, parent, self.rates(parent, {}), rng)
        draw.set_hparams(data_hparams)
        return draw.propose(origin, adds_adapters=False, inherits_momentum=False, is_mutated=False)


@dataclass(frozen=True)
class Mu2Net(EvolvingAgent):
    """mu2Net (arXiv 2205.12755): decay over the own population, then over shuffled rotating seeds, then uniform."""

    adds_adapters = False

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "mu2net"

    @property
    def own_space(self) -> Space:
        """The agent's hyperparameters."""
        return mu2net_space(self.anatomy)

    def begin(self, population: Population, rng: np.random.Generator) -> Population:
        """Return the population with its seeds shuffled."""
        seeds = [path.id for path in population.seeds]
        return replace(population, queue=tuple(seeds[i] for i in rng.permutation(len(seeds))))

    def mutated_mu(self, parent: Path, rng: np.random.Generator) -> dict[str, Value]:
        """Return the child's ``mu``: it is mutated first, with its own probability."""
        mu = self.space["mu"].nearest(parent.hparams.get("mu", self.space["mu"].default))
        return {"mu": self.space["mu"].step(mu, rng) if rng.random() < float(mu) else mu}

    def rates(self, parent: Path, draw: Mapping[str, Value]) -> Rates:  # noqa: ARG002
        """Return the child's own ``mu`` for all of its draws."""
        return ConstantRate(float(draw["mu"]))

    def sample_parent(self, population: Population, rng: np.random.Generator) -> tuple[Path, Origin]:
        """Return by decay an own path, else by decay a seed in rotated order, else any path."""
        parent = decay_pick(self.ranked(population), population.picks, rng)
        if parent:
            return parent, "own"
        parent = decay_pick([population.candidate(path_id) for path_id in population.queue], population.picks, rng)
        return (parent, "seed") if parent else (uniform_pick(population.candidates, rng), "uniform")


@dataclass(frozen=True)
class Mu2NetPlus(EvolvingAgent):
    """mu2Net+ (arXiv 2209.07326): every mutation carries its own probability; parents are own paths or any path."""

    default_mu = float(RATE.default)

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "mu2net-plus"

    @property
    def own_space(self) -> Space:
        """The agent's hyperparameters."""
        return mu2net_plus_space(self.anatomy)

    def rates(self, parent: Path, draw: Mapping[str, Value]) -> Rates:  # noqa: ARG002
        """Return the probabilities that the parent carries."""
        return InheritedRates(parent.rates)

    def sample_parent(self, population: Population, rng: np.random.Generator) -> tuple[Path, Origin]:
        """Return by decay an own path, else any live path."""
        parent = decay_pick(self.ranked(population), population.picks, rng)
        return (parent, "own") if parent else (uniform_pick(population.candidates, rng), "uniform")
