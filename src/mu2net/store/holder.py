"""Who holds a lease: a process of a host, and whether it is still there."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mu2net.store.files import Files

_STAT = "/proc/{}/stat"
_STATE, _STARTED = 0, 19
"""Fields of a process's ``stat`` behind its name (proc(5): 3 and 22)."""


@dataclass(frozen=True)
class Holder:
    """A process.

    Args:
        pid: Its id.
        host: The host's name.
        started: When it started, in clock ticks since the host did; ``None`` where the host does not tell. A later
            process of the same id started at another time.
        since: When it took the lease, as people read it.
    """

    pid: int
    host: str
    started: int | None
    since: str

    @classmethod
    def here(cls, files: Files) -> Holder:
        """Return this process."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), _started(files, os.getpid()), since)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Holder:
        """Return the holder that ``to_json`` described."""
        return cls(data["pid"], data["host"], data["started"], data["since"])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def has_ended(self, files: Files) -> bool:
        """Return whether it is a process of this host that is not there any more; of another host nobody can tell."""
        if self.host != socket.gethostname():
            return False
        if self.started is not None:
            return _started(files, self.pid) != self.started
        return not files.is_process(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


def _started(files: Files, pid: int) -> int | None:
    """Return when a process of this host started; ``None`` where there is none, or the host does not tell."""
    text = files.read_text(_STAT.format(pid))
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[_STATE] in "ZX" else int(fields[_STARTED])
