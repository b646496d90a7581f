"""What every agent is: a policy that proposes children and learns from what they scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from mu2net.core.anatomy import Anatomy
from mu2net.core.path import Path, Value
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal
from mu2net.core.score import Scoring
from mu2net.core.space import Space

PASSES = 6
"""Passes over the images that are seen, at least, where new images are far dearer than known ones."""


@dataclass(frozen=True)
class Trained:
    """A proposal and the measured path that came of it."""

    proposal: Proposal
    path: Path


@dataclass(frozen=True)
class Stage:
    """A generation of which the agent says how large it is and what it may spend.

    Args:
        children: Number of children; ``None`` for the cycle's generation size, 0 to end the cycle.
        share: Share of what is left of the cycle's budget that all of them take together, in ]0, 1].
        validations: Validations per child at most; ``None`` for the cycle's number.
        validated: Validation images at most, the same ones for all of them; ``None`` for the cycle's number.
        examples: Training examples per validation at most; ``None`` for the cycle's number.
        is_comparison: Whether all children train on equally many examples, whatever an example costs each of them.
        passes: Passes over the images that a child sees, at least, where an image that comes again costs far less than
            a new one: then the child sees fewer images, more often.
        least: Share of the whole time that must be left; with less of it the cycle ends.

    Raises:
        ValueError: A number lies outside its domain.
    """

    children: int | None = None
    share: float = 1.0
    validations: int | None = None
    validated: int | None = None
    examples: int | None = None
    is_comparison: bool = False
    passes: int = 1
    least: float = 0.03

    def __post_init__(self) -> None:
        if not (0.0 < self.share <= 1.0 and 0.0 <= self.least < 1.0):
            raise ValueError(f"share is {self.share}, least is {self.least}; expected ]0, 1] and [0, 1[")
        counts = (self.validations, self.validated, self.examples, self.passes)
        if (self.children or 0) < 0 or any(count is not None and count < 1 for count in counts):
            raise ValueError(
                f"a stage has {self.children} children and {counts} validations, validated images, examples, passes"
            )


class Agent(Protocol):
    """A policy for one task. It holds no state: all that it remembers lies in the population."""

    @property
    def name(self) -> str:
        """The name by which users choose it, for instance ``"mu2net"`` or ``"freeze:9"``."""
        ...

    @property
    def space(self) -> Space:
        """Its hyperparameters."""
        ...

    @property
    def scoring(self) -> Scoring:
        """How it weighs quality, size and compute."""
        ...

    @property
    def is_baseline(self) -> bool:
        """Whether it trains independent runs from the root instead of evolving."""
        ...

    def begin(self, population: Population, rng: np.random.Generator) -> Population:
        """Return the population with the agent's own order of seeds, at the start of a cycle."""
        ...

    def stage(self, population: Population) -> Stage | None:
        """Return how large the next generation is and what it may spend; ``None`` to leave both to the cycle."""
        ...

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Return the n children of the next generation; they share their ``ds_*`` values."""
        ...

    def keeps(self, population: Population, path: Path) -> bool:
        """Return whether a trained child joins the population."""
        ...

    def observe(self, population: Population, trained: Sequence[Trained]) -> Population:
        """Return the population after a generation; ``trained`` comes in the order of its proposals."""
        ...

    def score(self, population: Population, path: Path) -> float:
        """Return the score of a path of the active task under the current sharing."""
        ...

    def best(self, population: Population) -> Path | None:
        """Return the path to publish; ``None`` when the task has none yet."""
        ...


@dataclass(frozen=True)
class BaseAgent:
    """What the agents have in common.

    Args:
        anatomy: The shape of the network.
        scoring: How quality, size and compute are weighed.
        changes: Other starting values of hyperparameters.
        fixed: Hyperparameters that keep their starting values.
    """

    anatomy: Anatomy
    scoring: Scoring
    changes: Mapping[str, Value] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()

    newest_wins_ties = True
    is_baseline = False

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        raise NotImplementedError

    @property
    def own_space(self) -> Space:
        """The agent's hyperparameters as its paper has them."""
        raise NotImplementedError

    @property
    def space(self) -> Space:
        """The agent's hyperparameters, with the starting values that the user changed or fixed."""
        return self.own_space.with_defaults(self.changes).fixing(self.fixed)

    def begin(self, population: Population, rng: np.random.Generator) -> Population:  # noqa: ARG002
        """Return the population unchanged: no order of seeds is kept."""
        return population

    def stage(self, population: Population) -> Stage | None:  # noqa: ARG002
        """Return ``None``: the cycle divides its budget into equal children."""
        return None

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Return the n children of the next generation."""
        raise NotImplementedError

    def score(self, population: Population, path: Path) -> float:
        """Return the score of a path of the active task under the current sharing."""
        return self.scoring.score(path, population.sharers_with(path))

    def ranked(self, population: Population) -> list[Path]:
        """Return the task's own paths by descending score, recomputed with the current sharing."""
        ages = range(len(population.own))
        order = reversed(ages) if self.newest_wins_ties else ages
        return sorted((population.own[age] for age in order), key=lambda path: -self.score(population, path))

    def best(self, population: Population) -> Path | None:
        """Return the path with the best score; ``None`` when the task has none yet."""
        ranking = self.ranked(population)
        return ranking[0] if ranking else None

    def keeps(self, population: Population, path: Path) -> bool:
        """Return whether a child beats its parent, where that is of the same task and agent; else ``True``."""
        parent = next((known for known in population.own if known.id == path.parent_id), None)
        if parent is None or parent.agent != path.agent:
            return True
        return self.beats(self.score(population, path), self.score(population, parent))

    def beats(self, child: float, parent: float) -> bool:
        """Return whether a child's score is good enough against its parent's (``>=``)."""
        return child >= parent

    def observe(self, population: Population, trained: Sequence[Trained]) -> Population:
        """Return the population with the kept children, their picks counted, one generation on."""
        picks = dict(population.picks)
        for child in trained:
            picks[child.proposal.parent_id] = picks.get(child.proposal.parent_id, 0) + 1
        kept = tuple(child.path for child in trained if self.keeps(population, child.path))
        recorded = {child.path.id: child.path for child in trained}
        return replace(
            population,
            own=population.own + kept,
            picks=picks,
            lineage={**population.lineage, **recorded},
            generation=population.generation + 1,
        )
