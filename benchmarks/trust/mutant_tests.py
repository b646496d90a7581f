"""Run the tests that could notice a mutant, each mutant in a process forked from one that has imported what is slow.

``python -m benchmarks.trust.mutant_tests record FILE TEST…`` runs all tests without a change, and writes for each how
long it took, which functions with mutants it called, and whether it started a process.
``python -m benchmarks.trust.mutant_tests serve`` reads one line of JSON per mutant, and writes one with its outcome.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

_SLOW_TO_IMPORT = ("alembic", "numpy", "safetensors.torch", "sqlalchemy", "torch")
"""Never the program itself: what a mutant changes may run while its module is imported. No plugin of pytest either."""

_STARTS = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen")
"""Events of ``sys.addaudithook`` of a test whose functions run where nobody records them."""

_OPTIONS = ("-q", "-p", "no:cacheprovider", "--timeout=0")

_NOT_THERE = 70
"""Exit code of tests of which one could not be found: none of pytest's."""


@dataclass(frozen=True)
class Record:
    """What a test did without a change.

    Args:
        test: Its node id.
        seconds: How long it took, with its fixtures.
        functions: Names of the functions with mutants that it called, or a fixture of it.
        starts_processes: It started a process, which may have called others.
    """

    test: str
    seconds: float
    functions: tuple[str, ...]
    starts_processes: bool


class Recorder:
    """A plugin of pytest: notes what the functions in ``mutants`` are called by.

    What a fixture of more than one test calls counts for each of them, and what is called while tests are collected
    for all.
    """

    def __init__(self) -> None:
        self._open: list[set[str]] = [set()]
        self._shared: dict[int, set[str]] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._functions: dict[str, set[str]] = defaultdict(set)
        self._starting: set[str] = set()
        self._test = ""

    def note(self, name: str, **_: Any) -> None:
        """Take down a call: in place of ``mutmut``'s own recording."""
        self._open[-1].add(name)

    def audit(self, event: str, _: object) -> None:
        """Take down that a process starts."""
        if event in _STARTS:
            self._starting.add(self._test)

    @property
    def records(self) -> list[Record]:
        """What is known of all tests, the fastest first."""
        always, everywhere = self._open[0], "" in self._starting
        known = (
            Record(test, seconds, tuple(sorted(self._functions[test] | always)), everywhere or test in self._starting)
            for test, seconds in self._seconds.items()
        )
        return sorted(known, key=lambda record: (record.seconds, record.test))

    @contextmanager
    def _collecting(self) -> Iterator[set[str]]:
        self._open.append(set())
        try:
            yield self._open[-1]
        finally:
            self._open.pop()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Open the record of a test."""
        self._test = item.nodeid
        with self._collecting() as called:
            result = yield
        self._functions[item.nodeid] |= called
        for definitions in getattr(item, "_fixtureinfo").name2fixturedefs.values():  # noqa: B009 - private
            for definition in definitions:
                self._functions[item.nodeid] |= self._shared.get(id(definition), set())
        self._test = ""
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Keep what a fixture calls beside its test: other tests may look at what it made."""
        with self._collecting() as called:
            result = yield
        self._shared.setdefault(id(fixturedef), set()).update(called)
        self._open[-1] |= called
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the seconds of a test's setup, call and teardown."""
        self._seconds[report.nodeid] += report.duration


class _Chosen:
    """A plugin of pytest: some tests only, in the order given."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: number for number, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order), key=lambda item: self._order[item.nodeid]
        )
        if len(items) != len(self._order):
            pytest.exit("a test is not there any more", returncode=_NOT_THERE)


def that_may_notice(records: Sequence[Record], function: str) -> list[Record]:
    """Return the tests that call a function, and then those that start processes, in the order of the records.

    Args:
        records: Of all tests.
        function: With its module, as ``mutmut`` writes it.
    """
    calling = [record for record in records if function in record.functions]
    return [*calling, *(record for record in records if record.starts_processes and record not in calling)]


def record(file: Path, tests: Sequence[str]) -> int:
    """Run tests without a change, and write what is known of them.

    Args:
        file: JSON: a list of `Record`.
        tests: Files or folders.

    Returns:
        The exit code of pytest.
    """
    trampoline = importlib.import_module("mutmut.mutation.trampoline")
    recorder = Recorder()
    vars(trampoline)["record_trampoline_hit"] = recorder.note
    # Not in the environment: what processes record that a test starts would be lost.
    vars(trampoline)["_mutant_under_test"] = "stats"
    sys.addaudithook(recorder.audit)
    code = int(pytest.main([*_OPTIONS, *tests], plugins=[recorder]))
    file.write_text(json.dumps([asdict(record) for record in recorder.records]))
    return code


def serve() -> None:
    """Try one mutant per line of standard input: ``{"name": …, "tests": [node ids], "seconds": limit}``.

    Each is answered by a line: ``killed`` (a test failed), ``timed out``, ``survived``, or ``error: …``.
    """
    for name in _SLOW_TO_IMPORT:
        with suppress(ImportError):  # slower, then
            importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        print(_try(asked["name"], asked["tests"], asked["seconds"]), flush=True)


def _try(name: str, tests: Sequence[str], seconds: float) -> str:
    process = os.fork()
    if not process:
        os._exit(_run(name, tests))
    code = None
    try:
        code = _wait(process, seconds)
    finally:
        with suppress(ProcessLookupError):  # with all that it started
            os.killpg(process, signal.SIGKILL)
        if code is None:
            os.waitpid(process, 0)
    if code is None:
        return "timed out"
    if code == _NOT_THERE:
        return "error: a test is not there any more"
    return "killed" if code else "survived"


def _wait(process: int, seconds: float) -> int | None:
    """Return a process's exit code, or None where it has not ended in time."""
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        if (done := os.waitpid(process, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(done[1])
        time.sleep(0.02)
    return None


def _run(name: str, tests: Sequence[str]) -> int:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.environ["MUTANT_UNDER_TEST"] = name
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    return int(pytest.main([*_OPTIONS, "-x", *files], plugins=[_Chosen(tests)]))


if __name__ == "__main__":
    if sys.argv[1] == "record":
        sys.exit(record(Path(sys.argv[2]), sys.argv[3:]))
    serve()
