"""Writes ``docs/cli.md`` from the commands themselves; with ``--check`` it only says whether the file is up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mu2net.cli import app

TARGET = Path(__file__).with_name("cli.md")

INTRODUCTION = """\
# Command line

<!-- Written by docs/build_reference.py; change the commands, then run `make docs`. -->

Every command that works on a system finds it by its own `--system DIR`, else by `mu2net --system DIR`, else by the
environment variable `MU2NET_SYSTEM`, else in `./mu2net-system`, else in the only folder here that holds one, which it
then names. With `--json`, standard output holds JSON and nothing else; progress and messages go to standard error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | `verify` found damage |
| 2 | bad input, or a failing file, disk or connection; the message says what was expected, found, and what to do |
| 70 | a bug; `MU2NET_DEBUG=1` shows the traceback |
| 130 | stopped at once by Ctrl-C; what was recorded before is safe |
"""


def reference() -> str:
    """Return the whole page; it depends on nothing but the commands."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="mu2net")
    parts = [INTRODUCTION, "## mu2net\n", *_options(group, context)]
    for name, command in group.commands.items():
        parts += _command(name, command, command.context_class(command, info_name=name, parent=context))
    return "\n".join(parts).rstrip() + "\n"


def _command(name: str, command: Any, context: Any) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join(["mu2net", name, *(_usage(param) for param in arguments), "[OPTIONS]"])
    yield f"## mu2net {name}\n"
    yield f"```\n{usage}\n```\n"
    yield f"{command.help}\n"
    if arguments:
        yield "| argument | meaning |\n|---|---|"
        yield "\n".join(f"| `{_metavar(param, context)}` | {_cell(param.help)} |" for param in arguments) + "\n"
    yield from _options(command, context)


def _options(command: Any, context: Any) -> Iterator[str]:
    yield "| option | meaning |\n|---|---|"
    for param in command.params:
        if param.param_type_name == "option":
            value = "" if param.is_flag else f" {_metavar(param, context)}"
            yield f"| `{_cell(', '.join(param.opts) + value)}` | {_cell(param.help)}{_default(param)} |"
    yield ""


def _usage(param: Any) -> str:
    name = str(param.metavar or param.name).removesuffix("...")
    repeated = "..." if param.nargs == -1 else ""
    return f"{name}{repeated}" if param.required else f"[{name}{repeated}]"


def _metavar(param: Any, context: Any) -> str:
    if param.metavar:
        return str(param.metavar)
    descriptor = param.display_type(context) if hasattr(param, "display_type") else param.make_metavar(context)
    return str(descriptor).strip("<>[]")


def _default(param: Any) -> str:
    if param.is_flag or param.default is None or not param.show_default:
        return ""
    return f" Default: `{param.default}`."


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or check it.

    Args:
        arguments: ``--check`` or nothing.

    Returns:
        The exit code: 1 where the page is out of date.
    """
    page = reference()
    if "--check" not in arguments:
        TARGET.write_text(page, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{TARGET.name} is out of date; run: make docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
