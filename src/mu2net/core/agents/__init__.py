"""Agents: the policies that extend a system. A new method is one new module here and one entry in ``AGENTS``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mu2net.core.agents.base import Agent, Stage, Trained
from mu2net.core.agents.baselines import Adapters, Baseline, FineTune, Freeze, Linear
from mu2net.core.agents.budgeted import Budgeted
from mu2net.core.agents.evolving import Mu2Net, Mu2NetPlus, MuNet
from mu2net.core.agents.tuned import Tuned
from mu2net.core.anatomy import Anatomy
from mu2net.core.path import Value
from mu2net.core.score import Scoring
from mu2net.errors import ConfigError, UnknownNameError

__all__ = ["AGENTS", "Agent", "Stage", "Trained", "make_agent"]

AGENTS: dict[str, str] = {
    "mu2net": "mu2Net (arXiv 2205.12755), the default",
    "mu2net-plus": "mu2Net+ (arXiv 2209.07326): a probability per mutation, augmentation off at first",
    "munet": "muNet (arXiv 2205.10937): fixed mutation probability, residual adapters",
    "budgeted": "for budgets of minutes: trains few blocks, at the depth that is best, and keeps what is below",
    "finetune": "baseline: everything trains",
    "linear": "baseline: the head and the final norm train",
    "freeze:K": "baseline: blocks K and above train",
    "adapters:D": "baseline: residual adapters of inner size D train",
    "tuned:BASELINE": "a baseline whose learning rate is chosen by short trials, for instance tuned:freeze:8",
}
"""The agents by name, with one line for people."""

_BASELINES = ("finetune", "linear", "freeze", "adapters")

_SIMPLE = {
    "mu2net": Mu2Net,
    "mu2net-plus": Mu2NetPlus,
    "munet": MuNet,
    "budgeted": Budgeted,
    "finetune": FineTune,
    "linear": Linear,
}


def make_agent(
    name: str,
    anatomy: Anatomy,
    scoring: Scoring,
    changes: Mapping[str, Value] | None = None,
    fixed: Iterable[str] = (),
) -> Agent:
    """Return an agent by name.

    Args:
        name: One of ``AGENTS``, with a number in place of ``K`` or ``D``.
        anatomy: The shape of the network.
        scoring: How quality, size and compute are weighed.
        changes: Other starting values of hyperparameters.
        fixed: Hyperparameters that keep their starting values.

    Raises:
        UnknownNameError: No agent has this name.
        ConfigError: The agent does not fit the network, or its number is missing.
        RangeError: A starting value is not in its list.
    """
    changes, fixed = dict(changes or {}), tuple(fixed)
    kind, _, number = name.partition(":")
    if name in _SIMPLE:
        agent: Agent = _SIMPLE[name](anatomy, scoring, changes, fixed)
    elif kind == "tuned":
        agent = _tuned(name, number, anatomy, scoring, changes, fixed)
    elif kind in ("freeze", "adapters"):
        if not number.isdecimal():
            raise ConfigError(f"agent {name!r} needs a number, for instance '{kind}:8'")
        if kind == "freeze":
            agent = Freeze(anatomy, scoring, changes, fixed, int(number))
        else:
            agent = Adapters(anatomy, scoring, {**changes, "adapter_dim": int(number)}, fixed)
    else:
        raise UnknownNameError("agent", name, AGENTS)
    _ = agent.space
    return agent


def _tuned(
    name: str, of: str, anatomy: Anatomy, scoring: Scoring, changes: dict[str, Value], fixed: tuple[str, ...]
) -> Tuned:
    """Return a tuned baseline.

    Raises:
        ConfigError: ``of`` names no baseline, or one that does not fit the network.
    """
    if of.partition(":")[0] not in _BASELINES:
        raise ConfigError(f"agent {name!r} tunes no baseline; expected tuned: and one of {', '.join(_BASELINES)}")
    baseline = make_agent(of, anatomy, scoring, changes, fixed)
    assert isinstance(baseline, Baseline)
    return Tuned(anatomy, scoring, changes, fixed, baseline)
