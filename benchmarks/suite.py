"""Compares agents on a folder of tasks at equal time: ``python -m benchmarks.suite --help``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from benchmarks.evidence.ledger import Ledger
from benchmarks.evidence.options import parse
from benchmarks.evidence.report import write_report
from benchmarks.evidence.session import Session
from mu2net.cli.output import console
from mu2net.errors import Mu2NetError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is left to run, then write the tables.

    Returns:
        0 where everything succeeded, 1 where a run failed, 2 for bad input, 130 where it was interrupted.
    """
    options, started = parse(arguments), perf_counter()

    def say(text: str) -> None:
        print(f"[{perf_counter() - started:6.0f} s] {text}", flush=True)

    try:
        with _interruptible():
            ledger = Ledger(options.ledger)
            if ledger.torn:
                say(ledger.torn)
            is_good = options.is_report or Session(options, ledger, say).run()
            write_report(options, ledger, console())
    except Mu2NetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, and the same command goes on")
        return 130
    return 0 if is_good else 1


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block, also where a shell started it in the background and ignores SIGINT."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
