"""Writes what the ledger holds: tables on the terminal, the file of figures, the page and its pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks import markdown
from benchmarks.evidence.agents import is_expected
from benchmarks.evidence.comparison import Evidence
from benchmarks.evidence.figures import all_figures, hours, is_judged, verdict
from benchmarks.evidence.ledger import Ledger
from benchmarks.evidence.options import AGENTS, SEEDS, Options, default_roots
from benchmarks.evidence.pictures import PICTURES, draw_all
from benchmarks.evidence.records import Record
from benchmarks.evidence.tables import (
    Sheet,
    accuracy_sheet,
    effort_sheet,
    failures_sheet,
    figures_sheet,
    forgetting_sheet,
    growth_sheet,
    scale_sheet,
    sources_sheets,
)
from benchmarks.results import Row, machine, now


def write_report(options: Options, ledger: Ledger, console: Console) -> list[Row]:
    """Print the tables, and write the file of figures, the page and its pictures; return the figures.

    Args:
        options: Which condition is shown, and where to write.
        ledger: What was measured.
        console: Where tables are printed.
    """
    results, checks = ledger.results().values(), ledger.checks().values()
    evidence = Evidence.of(options.condition, results, checks, ledger.failures().values())
    rows = all_figures(evidence, [root.name for root in options.roots], _needed(options))
    if (whole := hours(evidence, default_roots(), AGENTS, SEEDS[0])) is not None:
        rows.append(whole)
    _print(console, evidence, rows)
    if not evidence.tables:
        others = sorted({result.key.condition.title for result in results} - {options.condition.title})
        known = f"; it has: {'; '.join(others)}" if others else ""
        console.print(f"{ledger.file} has no table for {options.condition.title}{known}", soft_wrap=True)
    _write_figures(options.output, ledger, evidence, rows)
    if options.page is not None:
        drawn = draw_all(evidence, options.page.parent / "images")
        markdown.replace_tables(options.page, page_tables(evidence, rows, drawn, _machines(evidence)))
    return rows


def _needed(options: Options) -> dict[str, list[str]]:
    """Return, by root, the agents without which a comparison is not complete: what was asked for, and the default.

    Where roots of one's own are compared, the default does not bind.
    """
    standard = {root.name for root in default_roots()}
    return {
        root.name: [
            agent for agent in (*options.agents, *(AGENTS if root.name in standard else ())) if is_expected(agent, root)
        ]
        for root in {root.name: root for root in (*default_roots(), *options.roots)}.values()
    }


def _print(console: Console, evidence: Evidence, rows: Sequence[Row]) -> None:
    sheets = [accuracy_sheet(table) for table in evidence.tables.values()]
    sheets += [effort_sheet(table) for table in evidence.tables.values()]
    sheets += sources_sheets(evidence)
    others = (scale_sheet(evidence), growth_sheet(evidence), forgetting_sheet(evidence), failures_sheet(evidence))
    for sheet in (*sheets, *others, figures_sheet(rows)):
        if sheet.lines:
            console.print(rich_table(sheet))


def rich_table(sheet: Sheet) -> RichTable:
    """Return a sheet as a table for a terminal."""
    found = RichTable(title=sheet.title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for number, name in enumerate(sheet.head):
        found.add_column(name, justify="left" if number == 0 or name == "what" else "right", overflow="fold")
    for number, line in enumerate(sheet.lines):
        is_last = number == len(sheet.lines) - sheet.totals - 1
        found.add_row(*map(_cell, line), end_section=is_last and sheet.totals > 0)
    return found


def _cell(text: str) -> Text:
    is_strong = text.startswith("**")
    return Text(text.strip("*"), "bold" + (" red" if "MISSED" in text else "") if is_strong else "")


def _write_figures(file: Path, ledger: Ledger, evidence: Evidence, rows: Sequence[Row]) -> None:
    """Write the figures, how they were judged, and every record that counts."""
    records: list[Record] = [*ledger.results().values(), *ledger.checks().values(), *ledger.failures().values()]
    content = {
        "figures": {row.id: row.value for row in rows if is_judged(row)},
        "rows": {row.id: {**asdict(row), "verdict": verdict(row)} for row in rows},
        "condition": evidence.condition.to_json(),
        "machine": machine(),
        "date": now(),
    }
    runs = ",\n  ".join(json.dumps(record.to_json(), allow_nan=False) for record in records)
    text = json.dumps(content, indent=1, allow_nan=False).removesuffix("\n}")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(f'{text},\n "runs": [\n  {runs}\n ]\n}}\n', encoding="utf-8")
    draft.replace(file)


def page_tables(
    evidence: Evidence, rows: Sequence[Row], drawn: Iterable[str], machines: Sequence[Mapping[str, str]]
) -> dict[str, str]:
    """Return the tables of the page by name.

    Args:
        evidence: What was measured.
        rows: The figures.
        drawn: Names of the pictures that were drawn.
        machines: What the figures depend on besides the code, each kind once.
    """
    single = {
        "figures": figures_sheet(rows),
        "forgetting": forgetting_sheet(evidence),
        "scale": scale_sheet(evidence),
        "growth": growth_sheet(evidence),
    }
    failures = failures_sheet(evidence)
    names = list(dict.fromkeys(name for one in machines for name in one))
    return {
        **{name: markdown.table(sheet.head, sheet.lines) for name, sheet in single.items()},
        "accuracy": _by_root([accuracy_sheet(table) for table in evidence.tables.values()]),
        "effort": _by_root([effort_sheet(table) for table in evidence.tables.values()]),
        "sources": _by_root(sources_sheets(evidence)),
        "condition": f"{evidence.condition.title}\n" if evidence.tables else markdown.MISSING,
        "failures": markdown.table(failures.head, failures.lines) if failures.lines else "none\n",
        "machine": markdown.table(
            ("", *("" for _ in machines)), [(name, *(one.get(name, "") for one in machines)) for name in names]
        ),
        **{f"picture_{name}": _picture(name, name in set(drawn)) for name in PICTURES},
    }


def _by_root(sheets: Sequence[Sheet]) -> str:
    parts = [f"**{sheet.title}**\n\n{markdown.table(sheet.head, sheet.lines)}" for sheet in sheets]
    return "\n".join(parts) or markdown.MISSING


def _picture(name: str, is_drawn: bool) -> str:
    return f"![{PICTURES[name].title}](images/{PICTURES[name].file})\n" if is_drawn else markdown.MISSING


def _machines(evidence: Evidence) -> list[dict[str, str]]:
    """Return the machines and versions of the shown results, each kind once, with the days on which they ran."""
    found: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for table in evidence.tables.values():
        for agent in table.agents:
            for result in table.results(agent):
                kind = tuple((name, str(value)) for name, value in result.machine.items())
                found.setdefault(kind, set()).add(result.date[:10])
    return [{**dict(kind), "measured": ", ".join(sorted(days))} for kind, days in found.items()]
