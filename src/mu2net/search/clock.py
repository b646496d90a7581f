"""The time of a cycle, over all of its runs."""

from __future__ import annotations

import time


class Clock:
    """Counts the wall-clock seconds of a cycle against its budget.

    Args:
        budget: Seconds that the cycle may take; ``None`` for no bound.
        earlier: Seconds that interrupted runs already took.
        started: ``time.perf_counter()`` at the start of this run; now by default.
    """

    def __init__(self, budget: float | None, earlier: float = 0.0, started: float | None = None) -> None:
        self._budget, self.earlier = budget, earlier
        self._started = time.perf_counter() if started is None else started
        self._lap = self._started

    def elapsed(self) -> float:
        """Return the seconds of this run."""
        return time.perf_counter() - self._started

    def remaining(self) -> float:
        """Return the seconds that are left; infinite without a bound, never negative."""
        if self._budget is None:
            return float("inf")
        return max(0.0, self._budget - self.earlier - self.elapsed())

    def lap(self) -> float:
        """Return the seconds since the last call, or since the start."""
        now = time.perf_counter()
        seconds, self._lap = now - self._lap, now
        return seconds
