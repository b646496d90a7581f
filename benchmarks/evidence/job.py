"""One run in a process of its own: ``python -m benchmarks.evidence.job [PLAN.json]``, else the plan on standard input.

Standard output gets one line of JSON per finished task: a record, or ``{"kind": "note", "text": …}``. Whatever a
library prints goes to standard error. SIGINT and SIGTERM end it at once; the cycle goes on with the next start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence.learning import Learner
from benchmarks.evidence.plans import Plan
from benchmarks.evidence.records import Failure
from benchmarks.results import now
from mu2net.errors import Mu2NetError

Emit = Callable[[Mapping[str, Any]], None]
"""Takes one line of output."""

_WATCH_SECONDS = 1.0
_GRACE_SECONDS = 30.0


def run_plan(plan: Plan, emit: Emit) -> bool:
    """Do what is left of a run.

    A task that fails ends the run where later tasks would build on it; elsewhere the other tasks go on.

    Args:
        plan: The run.
        emit: Gets every record as soon as it is there.

    Returns:
        Whether nothing failed.
    """
    learner = Learner(plan, lambda text: emit({"kind": "note", "text": text}))
    is_good = True
    for task in plan.run.tasks:
        try:
            result = learner.next_result(task)
        except Exception as error:
            emit(_failure(plan, task, error))
            is_good = False
            if not plan.run.is_independent:
                return False
        else:
            if result is not None:
                emit(result.to_json())
    try:
        check = learner.next_check()
        if check is not None:
            emit(check.to_json())
        if is_good:
            learner.clean()
    except Exception as error:
        emit(_failure(plan, "", error))
        return False
    return is_good


def _failure(plan: Plan, task: str, error: Exception) -> Mapping[str, Any]:
    """Return the record of an error, and print its traceback to standard error."""
    traceback.print_exception(error)
    text = str(error) if isinstance(error, Mu2NetError) else f"{type(error).__name__}: {error}"
    return Failure(plan.run.key(task), text, now()).to_json()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _watch(parent: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def _own_output() -> Emit:
    """Return what writes to standard output; whatever else is printed there goes to standard error from now on."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def emit(line: Mapping[str, Any]) -> None:
        stream.write(json.dumps(line, allow_nan=False) + "\n")
        stream.flush()

    return emit


def main(arguments: Sequence[str]) -> int:
    """Do a run; return 0 where it succeeded, 1 where a task failed, 130 where it was interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    emit = _own_output()
    try:
        text = Path(arguments[0]).read_text(encoding="utf-8") if arguments else sys.stdin.read()
        plan = Plan.from_json(json.loads(text))
        if plan.parent is not None:
            threading.Thread(target=_watch, args=(plan.parent,), daemon=True).start()
        return 0 if run_plan(plan, emit) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
