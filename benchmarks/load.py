"""How much of the machine other programs used during a measurement: a loop on all cores suffers most from them."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

_STAT = Path("/proc/stat")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ForeignLoad:
    """Counts processor time of other programs from its making on.

    Children of this process count as its own once they have ended, so none may be running when it is made or read.
    """

    def __init__(self) -> None:
        self._started, self._own, self._busy = perf_counter(), _own_seconds(), _busy_seconds()

    def share(self) -> float | None:
        """Return the share of all cores' time that others used, 0 to 1; ``None`` where the machine does not tell."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        available = (perf_counter() - self._started) * (os.cpu_count() or 1)
        others = busy - self._busy - (_own_seconds() - self._own)
        return min(max(others / available, 0.0), 1.0)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    """Return the seconds that all cores were busy since the machine started, or were taken by its host."""
    if not _STAT.exists():
        return None
    user, nice, system, _, _, interrupts, soft, steal = map(int, _STAT.read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / _TICKS
