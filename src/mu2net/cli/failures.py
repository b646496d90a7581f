"""How a command ends when it fails: one message on standard error, and an exit code that says why."""

from __future__ import annotations

import os
import traceback
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from mu2net.cli.output import error_console, plain
from mu2net.errors import Mu2NetError

EXIT_DAMAGED = 1
"""``verify`` found damage."""

EXIT_BAD_INPUT = 2
"""What the user gave, or the machine that it runs on, cannot be used."""

EXIT_BUG = 70
"""Something that mu2net did not expect."""

EXIT_STOPPED = 130
"""Ctrl-C stopped the command at once."""

DEBUG_VARIABLE = "MU2NET_DEBUG"
"""The environment variable that shows tracebacks."""


class CommandGroup(TyperGroup):
    """The commands of mu2net; turns exceptions into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            typer.Exit: The command failed; the message is printed.
        """
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, typer.Abort | BrokenPipeError) or hasattr(error, "exit_code"):
                raise  # typer's own: usage errors, exits, a reader that left
            raise typer.Exit(report(error)) from error


def report(error: BaseException) -> int:
    """Print why a command failed.

    Args:
        error: What it raised.

    Returns:
        The exit code.
    """
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        error_console().print(Text("".join(traceback.format_exception(error))), end="")
    code, message = _explain(error)
    lines = [plain(line) for line in message.splitlines()] or [plain(type(error).__name__)]
    prefix = Text("stopped: ", "bold yellow") if code == EXIT_STOPPED else Text("error: ", "bold red")
    error_console().print(prefix + Text("\n").join(lines))
    return code


def _explain(error: BaseException) -> tuple[int, str]:
    from mu2net.train.events import TrainingStopped

    if isinstance(error, TrainingStopped):
        return EXIT_STOPPED, f"{error}. The same `mu2net evolve` goes on from there."
    if isinstance(error, KeyboardInterrupt):
        return EXIT_STOPPED, "interrupted; what was recorded before is safe."
    if isinstance(error, Mu2NetError):
        return EXIT_BAD_INPUT, str(error)
    if isinstance(error, OSError):
        return EXIT_BAD_INPUT, _machine_said(error)
    return EXIT_BUG, (
        f"mu2net did not expect this ({type(error).__name__}: {error}).\n"
        f"Please report it, with what you ran and the traceback that {DEBUG_VARIABLE}=1 shows."
    )


def _machine_said(error: OSError) -> str:
    """Return one line with the reason and the file; full disks and lost connections are no bugs of mu2net."""
    reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
    return f"{reason}: '{os.fsdecode(error.filename)}'" if isinstance(error.filename, str | bytes) else reason
