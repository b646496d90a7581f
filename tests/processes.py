"""What tests ask the kernel about processes that they did not start themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def _fields(pid: int) -> list[str]:
    """State, parent and more of a process, as /proc/PID/stat has them behind the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended and only waits to be asked for its exit code does not."""
    try:
        return _fields(pid)[0] != "Z"
    except FileNotFoundError:
        return False


def parent_of(pid: int) -> int:
    """The process that started a process."""
    return int(_fields(pid)[1])


def children_of(pid: int) -> list[int]:
    """The processes that a process started and that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        other = int(folder.name)
        with suppress(OSError):
            if parent_of(other) == pid and is_running(other):
                found.append(other)
    return found


def wait_until(condition: Callable[[], object], seconds: float = 100) -> None:
    """Wait until something holds; fail where it does not within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
