"""Which agents are baselines, and which fit a root."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from benchmarks.evidence.keys import Condition
from benchmarks.evidence.roots import Root
from mu2net.core.agents import make_agent
from mu2net.core.anatomy import Anatomy
from mu2net.core.score import Scoring
from mu2net.errors import ConfigError, RangeError, UnknownNameError

LORA = "lora"
"""The agent that is no agent of mu2net: ``lora:RANK`` runs in ``benchmarks.lora``."""

LINEAR = ("linear", "tuned:linear")
"""The linear probes."""

_TUNED = "tuned"
_BASELINES = frozenset({LORA, _TUNED, "finetune", "linear", "freeze", "adapters"})


def kind_of(agent: str) -> str:
    """Return what stands before the first colon of an agent's name."""
    return agent.partition(":")[0]


def is_baseline(agent: str) -> bool:
    """Return whether every one of the agent's runs starts from the root and sees no other task."""
    return kind_of(agent) in _BASELINES


def lora_rank(agent: str) -> int:
    """Return the rank in ``lora:RANK``.

    Raises:
        ConfigError: The rank is missing or no positive number.
    """
    rank = agent.partition(":")[2]
    if not rank.isdecimal() or int(rank) < 1:
        raise ConfigError(f"agent {agent!r} needs a rank of at least 1, for instance 'lora:8'")
    return int(rank)


def in_turn(agents: Sequence[str]) -> list[str]:
    """Return the agents with evolving ones and baselines in turn: the order in which they start."""
    evolving = [agent for agent in agents if not is_baseline(agent)]
    baselines = [agent for agent in agents if is_baseline(agent)]
    return [agent for agent in chain.from_iterable(zip_longest(evolving, baselines)) if agent is not None]


def for_display(agents: Iterable[str]) -> list[str]:
    """Return the agents as tables show them: evolving ones first, then baselines, each by name."""
    return sorted(set(agents), key=lambda agent: (is_baseline(agent), agent))


def is_expected(agent: str, root: Root) -> bool:
    """Return whether a table of a root needs an agent, as far as names tell: adapters fit vision transformers alone."""
    needs_adapters = kind_of(agent.removeprefix(f"{_TUNED}:")) in (LORA, "adapters")
    return not (needs_adapters and root.spec.startswith("efficientnet"))


def misfit(agent: str, root: Root, anatomy: Anatomy, condition: Condition) -> str | None:
    """Return why an agent cannot work on a root, ``None`` where it can.

    Args:
        agent: Name of the agent.
        root: The root.
        anatomy: The root's shape.
        condition: Gives the starting values of hyperparameters.

    Raises:
        UnknownNameError: No agent, baseline or hyperparameter has this name.
        RangeError: A starting value is not in its list.
        ConfigError: The agent's number is missing.
    """
    if kind_of(agent) == LORA:
        lora_rank(agent)
        return None if anatomy.has_adapters else f"{agent} needs a vision transformer; {root.name} is none"
    if agent.endswith(":"):
        raise ConfigError(f"agent {agent!r} ends with a colon; expected a number or a name after it")
    if kind_of(agent) == _TUNED and (reason := misfit(agent.partition(":")[2], root, anatomy, condition)):
        return reason
    if kind_of(agent) == "freeze" and agent.partition(":")[2] == str(anatomy.depth):
        return f"{agent} trains no block of {root.name}: it is the linear probe"
    try:
        make_agent(agent, anatomy, _scoring(anatomy), dict(condition.hparams), condition.fixed)
    except (UnknownNameError, RangeError):
        raise
    except ConfigError as error:
        return str(error)
    return None


def _scoring(anatomy: Anatomy) -> Scoring:
    return Scoring(anatomy.num_params, anatomy.flops)
