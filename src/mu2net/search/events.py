"""What a cycle tells while it runs; ``mu2net.train`` adds its own events about batches and intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mu2net.core.path import Path
from mu2net.search.budget import Budget, ChildBudget

StopRequest = Literal["no", "interval", "now"]
"""Go on; stop after the current interval and publish; stop at the next batch and publish nothing."""


@dataclass(frozen=True)
class StopRequested:
    """The user pressed Ctrl-C.

    Args:
        request: ``"interval"`` after the first time, ``"now"`` after the second.
    """

    request: StopRequest


@dataclass(frozen=True)
class CycleStarted:
    """A cycle begins, or goes on after an interruption.

    Args:
        task: The active task.
        number: Number of the cycle for this task, from 0.
        agent: Name of the agent.
        budget: When it ends.
        children_done: Children that an earlier run already finished.
        seconds_done: Seconds that earlier runs already spent.
        best: The best path of the task so far: one that an earlier run or an earlier cycle found; ``None`` where there
            is none.
        best_score: Its score.
    """

    task: str
    number: int
    agent: str
    budget: Budget
    children_done: int
    seconds_done: float
    best: Path | None = None
    best_score: float | None = None


@dataclass(frozen=True)
class Preparing:
    """Work before the first child: decoding images, measuring the machine.

    Args:
        what: What is being done, a noun phrase.
        done: Units done.
        total: Units in all.
    """

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class ChildPlanned:
    """The budget of every child of the cycle is known.

    Args:
        budget: Its intervals and examples; a bound of them where ``seconds`` are given.
        seconds: Seconds of every child, which trains on as many examples as fit.
    """

    budget: ChildBudget
    seconds: float | None = None


@dataclass(frozen=True)
class GenerationStarted:
    """A generation begins to train.

    Args:
        number: Number of the generation in its cycle, from 0.
        children: Ids of the children that train now.
    """

    number: int
    children: tuple[str, ...]


@dataclass(frozen=True)
class ChildRecorded:
    """A child is trained, scored and on disk.

    Args:
        path: The child.
        score: Its score.
        is_kept: Whether it joined the population.
        is_best: Whether it is the best of the population now.
    """

    path: Path
    score: float
    is_kept: bool
    is_best: bool


@dataclass(frozen=True)
class Publishing:
    """The search is over; the best path is tested and published."""

    path: Path


@dataclass(frozen=True)
class Published:
    """The cycle is over.

    Args:
        path: The task's live path, with its test accuracy.
        score: Its score.
        is_new: Whether the cycle found it; otherwise the earlier path stays.
    """

    path: Path
    score: float
    is_new: bool


Observer = Callable[[object], None]
"""Receives every event; must not raise."""


def ignore(event: object) -> None:
    """Take an event and do nothing: the default observer."""
    del event
