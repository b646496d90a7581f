"""How many small changes of ``store/`` its tests notice: mutation testing by ``mutmut``, of a random sample."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from benchmarks.trust.mutant_tests import Record, that_may_notice

_REPOSITORY = Path(__file__).parents[2]
_EMPTY = "tests/nothing/test_nothing.py"

_MUTANT_TESTS = (sys.executable, "-m", "benchmarks.trust.mutant_tests")

_FASTEST = 60.0
"""No run of the tests is ended before this many seconds, however fast the clean one was."""

_NO_CHANGE = "no change"
"""Tried like a mutant: all tests run, and none may fail."""

_PATIENCE = 5.0
"""A changed program may never end: its tests may take this many times as long as those of the program as it is."""


@dataclass(frozen=True)
class Mutated:
    """What tests noticed of a random sample of mutants.

    Args:
        mutants: Mutants in all.
        sample: Those whose tests ran.
        outcomes: How many were "killed" (a test failed), "timed out", or "survived".
        unnoticed: Names of those that no test noticed, also those that change nothing of what the program does.
    """

    mutants: int
    sample: int
    outcomes: dict[str, int]
    unnoticed: tuple[str, ...]

    @property
    def score(self) -> float:
        """Share of the sample that was noticed: a test failed, or did not end."""
        return 1.0 - len(self.unnoticed) / self.sample

    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval of the score of all mutants (Wilson 1927, "Probable inference")."""
        z, n, p = 1.959964, self.sample, self.score
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def measure_mutation(
    folder: Path,
    count: int,
    seed: int = 0,
    repository: Path = _REPOSITORY,
    mutate: str = "src/mu2net/store",
    tests: Sequence[str] = ("tests/store", "tests/formats"),
    workers: int | None = None,
) -> Mutated:
    """Change a copy of the program in small ways, one at a time, and return what its tests noticed.

    ``mutmut`` makes the mutants. A first run without a change tells which tests call which function: for each mutant
    those that call the changed one run, the fastest first, and then those that start processes, whose calls nobody
    sees, until one fails. It takes an hour or more: stopped, and called again with the same folder, it goes on.

    Args:
        folder: Where the copy is made, with all that is known of it so far.
        count: How many mutants to try; all of them where there are fewer.
        seed: Of the sample.
        repository: What is copied: the files that git knows, as they are now.
        mutate: The folder whose files are changed.
        tests: Those that should notice.
        workers: How many mutants are tried at a time; one per core by default.

    Raises:
        RuntimeError: The tests fail without a change, or the program has changed since the folder was made.
    """
    project, ledger = folder / "project", folder / "outcomes.json"
    if not project.exists():
        _copy(repository, project, mutate)
    elif any((repository / name).read_bytes() != _bytes(project / name) for name in _listed(repository, "src", *tests)):
        raise RuntimeError(f"{project} was made of another program: delete {folder}, or name another one")
    names = _mutants(project)
    known: dict[str, str] = json.loads(ledger.read_text()) if ledger.exists() else {}
    total = len(names)
    random.Random(seed).shuffle(names)  # noqa: S311 - a sample, not a secret: the first of a larger one, too
    sample = names[:count]
    missing = [name for name in sample if name not in known]
    if missing:
        records = _records(project, folder / "tests.json", tests)
        with _Servers(project, workers or os.cpu_count() or 1) as servers:
            # Without a change all tests pass there too, or "killed" would mean nothing: nothing is noted before that.
            if known.get(_NO_CHANGE) != "survived":
                known[_NO_CHANGE] = servers.submit(_NO_CHANGE, records).result()
            if known[_NO_CHANGE] != "survived":
                raise RuntimeError(f"tests fail without a change where mutants are tried: {known[_NO_CHANGE]}")
            calling = {name: that_may_notice(records, as_imported(name).partition("__mutmut_")[0]) for name in missing}
            tried = {servers.submit(name, those): name for name, those in calling.items()}
            for future in as_completed(tried):
                known[tried[future]] = future.result()
                draft = ledger.with_suffix(".draft")
                draft.write_text(json.dumps(known, indent=1))
                draft.replace(ledger)
    found = {name: known[name] for name in sample}
    unnoticed = tuple(sorted(name for name, outcome in found.items() if outcome == "survived"))
    return Mutated(total, len(found), dict(sorted(Counter(found.values()).items())), unnoticed)


def as_imported(name: str) -> str:
    """Return the name by which a mutant is known where its code runs: Alembic imports revisions by names of its own.

    Args:
        name: As ``mutmut`` writes it, from the place of the file.
    """
    if ".migrations." not in name:
        return name
    module, function = name.split(".")[-2:]
    return f"{module}_py.{function}"


def _copy(repository: Path, project: Path, mutate: str) -> None:
    for name in _listed(repository):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, project / name)
    (project / _EMPTY).parent.mkdir(exist_ok=True)
    (project / _EMPTY).write_text("def test_nothing():\n    assert True\n")
    kept = ("mutants", "pyproject.toml", "src", "tests")
    options = {
        "source_paths": ["src"],
        "only_mutate": [f"{mutate}/*.py"],  # and those of the folders in it
        "also_copy": [path.name for path in sorted(project.iterdir()) if path.name not in kept],
        "pytest_add_cli_args_test_selection": [_EMPTY],  # only its mutants are wanted, not its way of running tests
    }
    with (project / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))


def _listed(repository: Path, *folders: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--", *folders]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)  # noqa: S603 - git as found
    return [name for name in done.stdout.split("\0") if name and (repository / name).is_file()]


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _mutants(project: Path) -> list[str]:
    """Return the names of all mutants, sorted; they are made where they are not there yet."""
    for is_last in (False, True):
        names: set[str] = set()
        for file in sorted((project / "mutants").rglob("*.meta")):
            names.update(json.loads(file.read_text())["exit_code_by_key"])
        if names:
            return sorted(names)
        command = [sys.executable, "-m", "mutmut", "run", "none of them"]
        environment = {**os.environ, "PYTHONPATH": str(project / "mutants" / "src")}
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)  # noqa: S603
        if is_last:
            raise RuntimeError(f"mutmut made no mutants:\n{(done.stdout + done.stderr)[-2000:]}")
    raise AssertionError


def _records(project: Path, file: Path, tests: Sequence[str]) -> list[Record]:
    """Return what each test does without a change; all of them run where that is not known yet.

    Raises:
        RuntimeError: One fails.
    """
    if not file.exists():
        draft = file.with_suffix(".draft")
        command = [*_MUTANT_TESTS, "record", str(draft), *tests]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_place(project))  # noqa: S603 - ours
        if done.returncode:
            raise RuntimeError(f"tests fail without a change:\n{(done.stdout + done.stderr)[-2000:]}")
        draft.replace(file)
    return [Record(**{**found, "functions": tuple(found["functions"])}) for found in json.loads(file.read_text())]


class _Servers:
    """Processes that try mutants, one each at a time.

    Args:
        project: The copy of the program with its mutants.
        count: How many.
    """

    def __init__(self, project: Path, count: int) -> None:
        self._pool = ThreadPoolExecutor(count)
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._all = [
            subprocess.Popen(  # noqa: S603 - ours
                [*_MUTANT_TESTS, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **_place(project)
            )
            for _ in range(count)
        ]
        for server in self._all:
            self._idle.put(server)

    def __enter__(self) -> _Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for server in self._all:
            server.communicate()

    def submit(self, name: str, records: Sequence[Record]) -> Future[str]:
        """Try a mutant when a process is idle: its outcome, or a RuntimeError."""
        return self._pool.submit(self._try, name, records)

    def _try(self, name: str, records: Sequence[Record]) -> str:
        if not records:
            return "survived"
        seconds = _FASTEST + _PATIENCE * sum(record.seconds for record in records)
        question = {"name": as_imported(name), "tests": [record.test for record in records], "seconds": seconds}
        server = self._idle.get()
        try:
            assert server.stdin
            assert server.stdout
            server.stdin.write(json.dumps(question) + "\n")
            server.stdin.flush()
            answer = server.stdout.readline().strip()
        finally:
            self._idle.put(server)
        if answer not in ("killed", "survived", "timed out"):
            raise RuntimeError(f"the tests of {name} could not run: {answer or 'their process ended'}")
        return answer


def _place(project: Path) -> dict[str, Any]:
    folder = project / "mutants"
    paths = os.pathsep.join(map(str, (folder / "src", _REPOSITORY)))
    environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    # Modules with mutants are a hundred times as long as without: no process compiles them again.
    return {"cwd": folder, "env": {**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": ""}}
