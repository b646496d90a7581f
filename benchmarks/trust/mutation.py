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
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_NOTICED = ("killed", "timeout", "segfault")
# A changed program may never end. What tests took while it was counted who runs what is several times their usual.
_PATIENCE = {"timeout_multiplier": 0.5, "timeout_constant": 120.0}


@dataclass(frozen=True)
class Mutated:
    """What tests noticed of a random sample of mutants.

    Args:
        mutants: Mutants in all.
        sample: Those whose tests ran.
        outcomes: How many were "killed" (a test failed), "survived", met "no tests", and so on: ``mutmut``'s own words.
        unnoticed: Names of those that no test noticed, also those that change nothing of what the program does.
    """

    mutants: int
    sample: int
    outcomes: dict[str, int]
    unnoticed: tuple[str, ...]

    @property
    def score(self) -> float:
        """Share of the sample that was noticed: killed, or its tests did not end or crashed."""
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
) -> Mutated:
    """Change a copy of the program in small ways, one at a time, and return what its tests noticed.

    It takes hours: stopped, and called again with the same folder, it goes on.

    Args:
        folder: Where the copy is made, with all that is known of it so far.
        count: How many mutants to try; all of them where there are fewer.
        seed: Of the sample.
        repository: What is copied: the files that git knows, as they are now.
        mutate: The folder whose files are changed.
        tests: Those that should notice.

    Raises:
        RuntimeError: The tests fail without a change, or the program has changed since the folder was made.
    """
    project = folder / "project"
    if not project.exists():
        _copy(repository, project, mutate, tests)
    elif any((repository / name).read_bytes() != _bytes(project / name) for name in _listed(repository, "src", *tests)):
        raise RuntimeError(f"{project} was made of another program: delete it, or name another folder")
    if not _outcomes(project):
        _mutmut(project, ["none of them"])  # it makes all mutants, and counts who runs what, before it looks for names
    known = _outcomes(project)
    names = sorted(known)
    random.Random(seed).shuffle(names)  # noqa: S311 - a sample, not a secret: the first of a larger one, too
    sample = names[:count]
    output = _mutmut(project, missing) if (missing := [name for name in sample if known[name] is None]) else ""
    known = _outcomes(project)
    found = {name: outcome for name in sample if (outcome := known[name]) is not None}
    if len(found) < len(sample):
        raise RuntimeError(f"{len(sample) - len(found)} mutants have no outcome:\n{output[-2000:]}")
    unnoticed = tuple(sorted(name for name, outcome in found.items() if outcome not in _NOTICED))
    return Mutated(len(names), len(found), dict(sorted(Counter(found.values()).items())), unnoticed)


def _copy(repository: Path, project: Path, mutate: str, tests: Sequence[str]) -> None:
    for name in _listed(repository):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, project / name)
    also = [
        path.name
        for path in sorted(project.iterdir())
        if path.name not in ("mutants", "pyproject.toml", "src", "tests")
    ]
    options = {
        "source_paths": ["src"],
        "only_mutate": [f"{mutate}/*.py"],  # and those of the folders in it
        "also_copy": also,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "--timeout=0"],
        "pytest_add_cli_args_test_selection": list(tests),
        **_PATIENCE,
    }
    with (project / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))


def _listed(repository: Path, *folders: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--", *folders]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)  # noqa: S603 - git as found
    return [name for name in done.stdout.split("\0") if name and (repository / name).is_file()]


def _bytes(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _mutmut(project: Path, names: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(project / "mutants" / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1), *names]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)  # noqa: S603 - our own tests
    return done.stdout + done.stderr


def _outcomes(project: Path) -> dict[str, str | None]:
    """Return what became of every mutant, by its name; ``None`` where it was not tried."""
    from mutmut.stats import status_by_exit_code

    codes: dict[str, int | None] = {}
    for file in sorted((project / "mutants").rglob("*.meta")):
        codes.update(json.loads(file.read_text())["exit_code_by_key"])
    return {name: None if code is None else status_by_exit_code[code] for name, code in codes.items()}
