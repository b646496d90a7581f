"""How much of ``core/`` and ``store/`` their tests run: every line, and both ways of every branch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_MEASURED = "src/mu2net/core,src/mu2net/store"
_TESTS = ("tests/core", "tests/store", "tests/formats")


@dataclass(frozen=True)
class Covered:
    """What tests ran.

    Args:
        share: Lines and branches that ran, of all.
        lines: Lines in all.
        branches: Branches in all.
        missing: Lines and branches that did not run, by file.
    """

    share: float
    lines: int
    branches: int
    missing: dict[str, list[str]]


def measure_coverage(folder: Path, tests: tuple[str, ...] = _TESTS) -> Covered:
    """Run tests under ``coverage``, and return what they ran.

    Args:
        folder: Where ``coverage`` keeps its data.
        tests: Which tests.

    Raises:
        RuntimeError: A test fails.
    """
    data, report = folder / ".coverage", folder / "coverage.json"
    command = [sys.executable, "-m", "coverage"]
    run = [*command, "run", "--branch", f"--source={_MEASURED}", f"--data-file={data}", "-m", "pytest", "-q", *tests]
    done = subprocess.run([*run, "-p", "no:cacheprovider"], cwd=_REPOSITORY, capture_output=True, text=True)  # noqa: S603 - our own tests
    if done.returncode:
        raise RuntimeError(f"tests fail:\n{done.stdout[-2000:]}")
    subprocess.run([*command, "json", "-q", f"--data-file={data}", "-o", str(report)], cwd=_REPOSITORY, check=True)  # noqa: S603
    found = json.loads(report.read_text())
    totals = found["totals"]
    ran = totals["covered_lines"] + totals["covered_branches"]
    missing = {
        file: [*map(str, of["missing_lines"]), *(f"{start}->{end}" for start, end in of["missing_branches"])]
        for file, of in found["files"].items()
        if of["missing_lines"] or of["missing_branches"]
    }
    return Covered(
        ran / (totals["num_statements"] + totals["num_branches"]),
        totals["num_statements"],
        totals["num_branches"],
        missing,
    )
