"""Runs in processes of their own, some at a time; this process alone hears what they report."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.evidence.plans import Plan

LOG_NAME = "log.txt"
"""File in a run's folder that keeps what its process printed."""

_REPOSITORY = Path(__file__).parents[2]
_STOP_SECONDS = 20.0

Line = Mapping[str, Any]
_Message = tuple[Plan, str | None]


class Pool:
    """Starts the processes of plans, at most some at a time.

    Args:
        jobs: Processes at a time.
        hear: Told every line of a process, in the calling thread.
        end: Told the exit code of every process that ended by itself, negative for a signal.
    """

    def __init__(self, jobs: int, hear: Callable[[Plan, Line], None], end: Callable[[Plan, int], None]) -> None:
        self._jobs, self._hear, self._end = jobs, hear, end
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._running: dict[Path, subprocess.Popen[str]] = {}

    def run(self, plans: Sequence[Plan]) -> None:
        """Run all plans; when this is interrupted, all processes are ended first."""
        waiting = deque(plans)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._jobs:
                    self._start(waiting.popleft())
                plan, line = self._messages.get()
                if line is not None:
                    self._hear(plan, json.loads(line))
                else:
                    code = self._running[plan.folder].wait()
                    del self._running[plan.folder]
                    self._end(plan, code)
        finally:
            self._stop()

    def _start(self, plan: Plan) -> None:
        plan.folder.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(_REPOSITORY), *filter(None, sys.path)])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        with (plan.folder / LOG_NAME).open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.evidence.job"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                start_new_session=True,
                env=environment,
            )
        self._running[plan.folder] = process
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as stream:  # it may have ended; its exit code says so
            stream.write(json.dumps(plan.to_json()))
        threading.Thread(target=self._read, args=(plan, process), daemon=True).start()

    def _read(self, plan: Plan, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):
                    self._messages.put((plan, line))
        self._messages.put((plan, None))

    def _stop(self) -> None:
        """End what still runs: an interrupt first, which it answers by letting go of its system; then for good."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        try:
            for process in self._running.values():
                process.wait(max(deadline - time.monotonic(), 0.1))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in self._running.values():
                process.kill()
                process.wait()
        self._running.clear()
