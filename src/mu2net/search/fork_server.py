"""Forks workers from a process that has imported what all of them need.

The pages of these imports, about 180 MiB with PyTorch, then exist once for all workers instead of once in each, and
nothing is imported twice. ``main`` runs in a new interpreter, which has no threads yet: forking a process that trains
or serves could take over a lock that nobody lets go of again.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from mu2net.search import worker


def main(descriptors: Sequence[int]) -> None:
    """Run one worker for every pipe, until the other ends are closed; a single worker runs in this very process.

    Ends as the first worker did that did not end well: with its exit code, or by its signal.

    Args:
        descriptors: File descriptors of the workers' ends.
    """
    if len(descriptors) == 1:
        worker.main(descriptors[0])
        return
    gc.collect()
    gc.freeze()  # else the first collection of every worker would write to all the pages that it shares
    running = {_fork(descriptor, descriptors) for descriptor in descriptors}
    signal.signal(signal.SIGTERM, lambda *_: _end(running))
    for descriptor in descriptors:
        os.close(descriptor)
    _end_like(_wait(running))


def _fork(descriptor: int, descriptors: Sequence[int]) -> int:
    """Start the worker of one pipe; return its process id."""
    pid = os.fork()
    if pid == 0:
        _work(descriptor, [other for other in descriptors if other != descriptor])
    return pid


def _work(descriptor: int, others: Sequence[int]) -> NoReturn:
    """Be a worker, and end without what the interpreter does at its end: that belongs to the process that forked."""
    code = 1
    try:
        for other in others:
            os.close(other)  # while this process held it, its worker would not notice that the other end is closed
        worker.main(descriptor)
        code = 0
    except BaseException:  # whatever it is, nothing may return into the loop that forks
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _end(running: set[int]) -> None:
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _wait(running: set[int]) -> int:
    """Wait for all workers; return the first exit code that is not 0, or 0."""
    first = 0
    while running:
        pid, status = os.wait()
        running.discard(pid)
        first = first or os.waitstatus_to_exitcode(status)
    return first


def _end_like(code: int) -> None:
    """End this process as another one ended; by a signal where its exit code is negative."""
    if code < 0:
        if -code == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
