"""Selection of parents by the decay rule (docs/method.md: sampling a parent; arXiv 2205.12755, algorithm 1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mu2net.core.path import Path


def decay_pick(candidates: Sequence[Path], picks: Mapping[str, int], rng: np.random.Generator) -> Path | None:
    """Walk the candidates in order, accept each with probability ½^n, and return the first accepted.

    Args:
        candidates: The candidates, best first.
        picks: How often each path was already picked for the active task, siblings included.
        rng: Source of the draws.

    Returns:
        The accepted candidate, or ``None`` when all were refused.
    """
    for path in candidates:
        if rng.random() < 0.5 ** picks.get(path.id, 0):
            return path
    return None


def count_picks(recorded: Iterable[Path], task: str, agent: str) -> dict[str, int]:
    """Return how often each path was picked as a parent, from the children that were recorded.

    Args:
        recorded: Recorded paths of earlier cycles, kept or not.
        task: The active task; picks for other tasks do not count.
        agent: Name of the agent that picks; the runs of another agent (a baseline's from the root) do not count.
    """
    children = (path for path in recorded if path.task == task and path.agent == agent)
    return dict(Counter(path.parent_id for path in children if path.parent_id is not None))


def uniform_pick(candidates: Sequence[Path], rng: np.random.Generator) -> Path:
    """Return one of the candidates, each with equal probability.

    Raises:
        ValueError: There are no candidates.
    """
    if not candidates:
        raise ValueError("there is no candidate to pick")
    return candidates[int(rng.integers(len(candidates)))]


def rotated_past(queue: Sequence[str], path_id: str) -> tuple[str, ...]:
    """Return a queue that starts behind an entry, with the entries up to it moved to the end.

    Raises:
        ValueError: The entry is not in the queue.
    """
    position = list(queue).index(path_id) + 1
    return (*queue[position:], *queue[:position])
