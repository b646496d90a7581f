"""A baseline as a good practitioner runs it: its learning rate is chosen on the validation split, within its budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from mu2net.core.agents.base import PASSES, BaseAgent, Stage
from mu2net.core.agents.baselines import Baseline, Linear
from mu2net.core.path import Mutation, Path
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal
from mu2net.core.space import LEARNING_RATES, Space

TRIAL_RATES = (0.005, 0.02, 0.1, 0.5)
"""Learning rates that are tried where a trial is dear, about a factor of four apart: the whole range of the list."""

TRIAL_SHARE = 0.3
"""Share of the budget that the trials take together."""

RUN_VALIDATIONS = 12
"""Validations of the long run."""


@dataclass(frozen=True)
class Tuned(BaseAgent):
    """Short trials of several learning rates, then one long run from the root with the best of them.

    A linear probe has no long run: a step of it costs so little that all learning rates train to the end, together.
    Where images are far dearer than steps, because the frozen slots below take most of the time, fewer are seen,
    several times each; the long run finds those that the trials computed.

    Args:
        baseline: What is trained.
    """

    baseline: Baseline | None = None

    is_baseline = True

    @property
    def _baseline(self) -> Baseline:
        if self.baseline is None:
            raise TypeError("Tuned needs a baseline")
        return self.baseline

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return f"tuned:{self._baseline.name}"

    @property
    def own_space(self) -> Space:
        """The baseline's hyperparameters."""
        return self._baseline.own_space

    @property
    def space(self) -> Space:
        """The baseline's hyperparameters, with the starting values that the user changed or fixed."""
        return self._baseline.space

    @property
    def trial_rates(self) -> tuple[float, ...]:
        """The learning rates that are tried; the only one where the user fixed it."""
        allowed = self.space["opt_lr"].values
        rates = LEARNING_RATES if isinstance(self._baseline, Linear) else TRIAL_RATES
        return tuple(rate for rate in rates if rate in allowed) or tuple(float(rate) for rate in allowed)

    def keeps(self, population: Population, path: Path) -> bool:  # noqa: ARG002
        """Return ``True``: runs are independent, the best is published."""
        return True

    def stage(self, population: Population) -> Stage | None:
        """Return the trials, then the long run, then the end."""
        rates = self.trial_rates
        if isinstance(self._baseline, Linear):
            return Stage(len(rates), passes=PASSES) if population.generation == 0 else Stage(0)
        stages = (Stage(len(rates), TRIAL_SHARE, 1, passes=PASSES), Stage(1, 1.0, RUN_VALIDATIONS, passes=PASSES))
        first = 0 if len(rates) > 1 else 1
        return (*stages[first:], Stage(0), Stage(0))[min(population.generation, 2)]

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Return a trial of every learning rate, or the long run."""
        run = self._baseline.propose(population, rng, 1)[0]
        rates = self.trial_rates
        if population.generation == 0:
            return [_with_rate(run, rates[number % len(rates)]) for number in range(n)]
        return [_with_rate(run, self._best_rate(population))] * n

    def _best_rate(self, population: Population) -> float:
        """Return the learning rate of the best trial of this cycle; of equally accurate ones that of the lowest loss.

        Short trials of many classes often end with equal accuracies, while their losses differ.
        """
        trials = population.own[-len(self.trial_rates) :]
        best = max(trials, key=lambda path: (path.quality, -_loss(path), -float(path.hparams["opt_lr"])))
        return float(best.hparams["opt_lr"])


def _loss(path: Path) -> float:
    """Return the mean training loss of a path's last interval; infinite where there is none."""
    losses = path.metrics.extra.get("train_loss") if path.metrics else None
    return float(losses[-1]) if losses else math.inf


def _with_rate(run: Proposal, rate: float) -> Proposal:
    before = run.hparams["opt_lr"]
    changed = (Mutation("hp:opt_lr", before, rate, is_forced=True),) if rate != before else ()
    return replace(run, hparams={**run.hparams, "opt_lr": rate}, mutations=(*run.mutations, *changed))
