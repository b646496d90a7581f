"""What every command prints with: consoles, JSON, and figures as people read them."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 160
"""Columns of tables that go to a file or a pipe, unless ``COLUMNS`` says otherwise."""


class ProgressConsole(Console):
    """A console whose reader may leave: what is shown on the way must never end a search."""

    def on_broken_pipe(self) -> None:
        """Stay silent from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def console() -> Console:
    """Return the console of results: standard output."""
    return Console(file=sys.stdout, width=_width(sys.stdout.isatty()), highlight=False)


def progress_console(*, as_json: bool) -> Console:
    """Return the console of progress: standard output, or standard error where that belongs to JSON alone.

    Args:
        as_json: Whether the result is printed as JSON.
    """
    stream = sys.stderr if as_json else sys.stdout
    return ProgressConsole(file=stream, width=_width(stream.isatty()), highlight=False)


def error_console() -> Console:
    """Return the console of errors: standard error."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())


def _width(is_terminal: bool) -> int | None:
    return None if is_terminal or os.environ.get("COLUMNS") else PIPE_WIDTH


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output; numbers that JSON does not know become ``null``."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))  # noqa: T201 - the command's result


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def plain(text: object, style: str = "") -> Text:
    """Return foreign text (names of files, classes, tasks) without markup and control characters."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text)), style)


def say(out: Console, text: object, style: str = "") -> None:
    """Print one line; a terminal breaks it between words, a file or a pipe gets it whole.

    Args:
        out: Where to print.
        text: Foreign text, without markup.
        style: How it looks on a terminal.
    """
    out.print(plain(text, style), soft_wrap=not out.is_terminal)


def percent(share: float | None, decimals: int = 2) -> str:
    """Return a share in [0, 1] in percent, ``-`` for none: ``95.37 %``."""
    return "-" if share is None else f"{100 * share:.{decimals}f} %"


def quantity(number: float) -> str:
    """Return a number of parameters or FLOPs with three digits: ``1.23 M``."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            scaled = number / size
            decimals = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{decimals}f} {unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``4.2 s``, ``1m15s``, ``2h03m``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 image``, ``2,000 images``; a noun in ``-ss`` takes ``-es``."""
    ending = "" if number == 1 else "ren" if noun == "child" else "es" if noun.endswith("ss") else "s"
    return f"{number:,} {noun}{ending}"
