"""Writes the tables of ``docs/performance.md`` from the files of figures: ``python -m benchmarks.page``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.markdown import replace_tables, table, three_digits

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

Rows = Mapping[str, Mapping[str, Any]]
"""Rows of a file of figures, by id."""


def write_page(page: Path, speed: Path, roofline: Path) -> None:
    """Replace the tables of a page by those of the figures.

    Args:
        page: A Markdown file with marked tables.
        speed: The figures of ``benchmarks.speed``.
        roofline: Those of ``benchmarks.roofline``; the table stays empty where it is missing.

    Raises:
        KeyError: The page asks for a table that does not exist.
    """
    found = json.loads(speed.read_text(encoding="utf-8"))
    peaks = json.loads(roofline.read_text(encoding="utf-8")) if roofline.exists() else {"figures": {}, "cases": {}}
    described = {
        **{f"processor {letter}": name for name, letter in processors(found["rows"]).items()},
        **{name: value for name, value in found["machine"].items() if name not in ("processor", "commit")},
    }
    tables = {
        "runs": runs_table(found["rows"]),
        "generations": generations_table(found["rows"]),
        "others": others_table(found["rows"]),
        "peaks": table(("peak", "measured"), ((name, f"{value:,.0f}") for name, value in peaks["figures"].items())),
        "shares": shares_table(peaks["cases"]),
        "machine": table(("", ""), ((name, str(value)) for name, value in described.items())),
    }
    replace_tables(page, tables)


def processors(rows: Rows) -> dict[str, str]:
    """Return a letter for every processor that rows are of, in the order of the rows that name one."""
    names = dict.fromkeys(str(row["processor"]) for row in rows.values() if "processor" in row)
    return dict(zip(names, ascii_uppercase, strict=False))


def _letter(rows: Rows, row: Mapping[str, Any]) -> str:
    return processors(rows).get(str(row.get("processor")), "")


def runs_table(rows: Rows) -> str:
    """Return one line per case of equal runs: steady state, and from an empty cache to the end."""
    rates = ("plain, examples/s", "mu2net")
    head = ("id", "what trains", *rates, "times", "low to high", "aim", "from an empty cache", "on")
    return table(head, (_run(rows, case) for case in CASES if case.kind == "runs" and case.id in rows))


def _run(rows: Rows, case: Case) -> Sequence[str]:
    row, whole = rows[case.id], rows[f"{case.id}_end_to_end"]
    rates = (f"{row['plain_per_second']:,.0f}", f"{row['ours_per_second']:,.0f}")
    return f"`{case.id}`", case.title, *rates, *_measured(row), three_digits(whole["value"]), _letter(rows, row)


def generations_table(rows: Rows) -> str:
    """Return one line per generation: from an empty cache, and once more from a full one."""
    head = ("id", "generation", "plain, s", "mu2net, s", "times", "low to high", "aim", "from a full cache", "on")
    return table(head, (_generation(rows, case) for case in CASES if case.kind == "generation" and case.id in rows))


def _generation(rows: Rows, case: Case) -> Sequence[str]:
    row, warm = rows[case.id], rows[f"{case.id}_warm"]
    seconds = (f"{row['plain_seconds']:,.0f}", f"{row['ours_seconds']:,.0f}")
    return f"`{case.id}`", case.title, *seconds, *_measured(row), three_digits(warm["value"]), _letter(rows, row)


def others_table(rows: Rows) -> str:
    """Return one line for every figure that belongs to no training case."""
    known = {name for case in CASES for name in (case.id, f"{case.id}_end_to_end", f"{case.id}_warm")}
    head = ("id", "what", "figure", "low to high", "aim", "on")
    others = ((name, row) for name, row in rows.items() if name not in known)
    return table(head, ((f"`{name}`", row["title"], *_measured(row), _letter(rows, row)) for name, row in others))


def shares_table(cases: Rows) -> str:
    """Return one line per case of equal runs: GFLOP/s of both sides, and what share of the peak that is."""
    head = ("id", "forward, MFLOP", "plain, GFLOP/s", "of float32 peak", "mu2net, GFLOP/s", "of its peak")
    lines = (
        (
            f"`{name}`",
            f"{case['mflops_forward']:,.0f}",
            f"{case['plain_gflops']:,.0f}",
            f"{case['plain_share']:.0%}",
            f"{case['ours_gflops']:,.0f}",
            f"{case['ours_share']:.0%}",
        )
        for name, case in cases.items()
    )
    return table(head, lines)


def _measured(row: Mapping[str, Any]) -> tuple[str, str, str]:
    verdict = {True: "reached", False: "**missed**", None: ""}[row["is_met"]]
    aim = f"{row['target']}: {verdict}" if row["target"] else verdict
    value, low, high = (three_digits(row[name]) for name in ("value", "low", "high"))
    return f"**{value}**", f"{low} to {high}", aim


if __name__ == "__main__":
    write_page(PAGE, RESULTS / "speed.json", RESULTS / "roofline.json")
