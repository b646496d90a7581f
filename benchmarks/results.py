"""Figures: the file that keeps them, and the table for people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import mu2net
from benchmarks.spread import Spread
from mu2net.nn.machine import cpu_info
from mu2net.nn.machine import processor as processor_name


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        id: Its name.
        title: What it is, for people.
        value: The figure.
        low: The smallest measurement, or the lower end of an interval.
        high: The largest measurement, or the upper end.
        target: What is aimed at; ``None`` where nothing is.
        is_met: Whether it is reached; ``None`` where nothing is aimed at.
        detail: More to keep, JSON values.
    """

    id: str
    title: str
    value: float
    low: float
    high: float
    target: str | None = None
    is_met: bool | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        values: Sequence[float],
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Row:
        """Return the row of some measurements; its figure is their median.

        Args:
            name: Its id.
            title: What it is, for people.
            values: The measurements, at least one.
            at_least: The target, where more is better.
            at_most: The target, where less is better.
            detail: More to keep, JSON values.
        """
        spread = Spread.of(values)
        target, is_met = None, None
        if at_least is not None:
            target, is_met = f"≥ {at_least:g}", spread.median >= at_least
        elif at_most is not None:
            target, is_met = f"≤ {at_most:g}", spread.median <= at_most
        kept = {**(detail or {}), "measurements": list(values)}
        return cls(name, title, spread.median, spread.low, spread.high, target, is_met, kept)

    @property
    def verdict(self) -> str:
        """``pass``, ``MISS``, or nothing where nothing is aimed at."""
        return "" if self.is_met is None else "pass" if self.is_met else "MISS"


_FOR_MATRICES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
"""Instructions on which it depends how fast matrices are multiplied, as /proc/cpuinfo calls them."""


def processor() -> str:
    """Return what tells processors apart: name, family and model, and the instructions for matrices.

    The name alone does not: virtual machines call several generations the same.
    """
    offered = (cpu_info("flags") or cpu_info("Features")).split()
    family, model = cpu_info("cpu family"), cpu_info("model")
    number = [f"family {family} model {model}"] if family else []
    return ", ".join([processor_name(), *number, *(name for name in _FOR_MATRICES if name in offered)])


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "mu2net": version("mu2net"),
        "commit": _commit(),
        "code": _code(),
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (fixed command)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def _code() -> str:
    """Return what tells states of the package apart: a hash of its files, whatever else a commit changes."""
    package = Path(mu2net.__file__).parent
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(f"{file.relative_to(package)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return found.hexdigest()[:12]


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Add rows to a file of figures; those that it has already are replaced.

    Every row keeps the date, the commit and the processor of its own run.

    Args:
        file: JSON, ``{"figures": {ID: number}, "machine": …, "date": …, "rows": {ID: …}}``; made where it is missing.
        rows: The figures.
    """
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found, date = machine(), now()
    figures, kept = content.get("figures", {}), content.get("rows", {})
    for row in rows:
        figures[row.id] = row.value
        kept[row.id] = {
            "title": row.title,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "target": row.target,
            "is_met": row.is_met,
            "date": date,
            "commit": found["commit"],
            "processor": found["processor"],
            **row.detail,
        }
    content = {"figures": figures, "machine": found, "date": date, "rows": kept}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [("figure", "value", "low to high", "target", "", "what")]
    for row in rows:
        between = f"{row.low:.3g} to {row.high:.3g}"
        lines.append((row.id, f"{row.value:.3g}", between, row.target or "", row.verdict, row.title))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
