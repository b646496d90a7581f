"""How much of the machine other programs used during a measurement: a loop on all cores suffers most from them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import perf_counter

_PROCESSES = Path("/proc")
_STAT = _PROCESSES / "stat"
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ForeignLoad:
    """Counts processor time of other programs from its making on.

    Children of this process count as its own once they have ended, so none may be running when it is made or read.
    With a family that does not matter: all its processes count as own, running or not.

    Args:
        family: A process that counts as own with all its descendants; ``None`` for this process and its children.
    """

    def __init__(self, family: int | None = None) -> None:
        self._family = family
        self._started, self._own, self._busy = perf_counter(), self._own_seconds(), _busy_seconds()

    def share(self) -> float | None:
        """Return the share of all cores' time that others used, 0 to 1; ``None`` where the machine does not tell."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        available = (perf_counter() - self._started) * (os.cpu_count() or 1)
        others = busy - self._busy - (self._own_seconds() - self._own)
        return min(max(others / available, 0.0), 1.0)

    def _own_seconds(self) -> float:
        return _own_seconds() if self._family is None else _family_seconds(self._family)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _family_seconds(family: int) -> float:
    """Return the processor time of a process, its running descendants, and all of those that have ended."""
    seconds: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for file in _PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            fields = file.read_text(errors="replace").rpartition(")")[2].split()
            process = int(file.parent.name)
            children.setdefault(int(fields[1]), []).append(process)
            seconds[process] = sum(map(int, fields[11:15])) / _TICKS
    total, left = 0.0, [family]
    while left:
        process = left.pop()
        total += seconds.get(process, 0.0)
        left += children.get(process, ())
    return total


def _busy_seconds() -> float | None:
    """Return the seconds that all cores were busy since the machine started, or were taken by its host."""
    if not _STAT.exists():
        return None
    user, nice, system, _, _, interrupts, soft, steal = map(int, _STAT.read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + interrupts + soft + steal) / _TICKS
