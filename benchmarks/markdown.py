"""Tables in Markdown, and pages in which they are written anew.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; everything else on a page is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

MISSING = "not measured yet\n"
"""Stands where there is nothing to show."""

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def replace_tables(page: Path, tables: Mapping[str, str]) -> None:
    """Replace the tables of a page.

    Args:
        page: A Markdown file with marked tables.
        tables: Text by name, each ending with a new line.

    Raises:
        KeyError: The page asks for a table that does not exist.
    """
    text = page.read_text(encoding="utf-8")
    page.write_text(_MARKED.sub(lambda match: match[1] + tables[match[2]] + match[3], text), encoding="utf-8")


def three_digits(value: float) -> str:
    """Return a number with three digits that count, without an exponent: 2,280 rather than 2.28e+03."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.6f}".rstrip("0").rstrip(".")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; where it has no line, the words that stand for it."""
    found = [list(line) for line in lines]
    if not found:
        return MISSING
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *found))
