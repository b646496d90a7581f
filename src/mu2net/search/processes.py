"""Starts and ends the processes of workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from mu2net.nn.allocator import ENVIRONMENT

_FORKS = sys.platform.startswith("linux")
"""Whether workers are forked from one process; the system libraries of other platforms may not survive that."""


@dataclass
class WorkerProcess:
    """A worker, as the process sees it that started it.

    Args:
        connection: This end of its pipe.
        started: The process that runs it: a fork server, or the worker itself.
        pid: Its process id; that of ``started`` until the worker has told its own.
    """

    connection: Connection
    started: subprocess.Popen[bytes]
    pid: int

    def exit_code(self) -> int:
        """Wait until the process that runs it has ended; return how, as ``Popen`` tells it."""
        return self.started.wait()


def start_workers(count: int) -> list[WorkerProcess]:
    """Start workers in a session of their own, so that a terminal's Ctrl-C does not reach them.

    On Linux they share the memory of what they import.

    Args:
        count: How many.
    """
    pipes = [Pipe() for _ in range(count)]
    workers = []
    for together in [pipes] if _FORKS else [[pipe] for pipe in pipes]:
        process = _start([theirs.fileno() for _, theirs in together])
        workers += [WorkerProcess(ours, process, process.pid) for ours, _ in together]
        for _, theirs in together:
            theirs.close()
    return workers


def _start(descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    code = f"from mu2net.search.fork_server import main; main({list(descriptors)})"
    environment = {
        **ENVIRONMENT,
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    return subprocess.Popen(  # noqa: S603 (our own module)
        [sys.executable, "-c", code], pass_fds=descriptors, start_new_session=True, env=environment
    )


def end_workers(workers: Sequence[WorkerProcess]) -> None:
    """End workers, whatever they do, and wait until they have ended.

    Args:
        workers: All that ``start_workers`` returned at once.
    """
    for worker in workers:
        worker.connection.close()
        worker.started.terminate()
    for worker in workers:
        worker.started.wait()
