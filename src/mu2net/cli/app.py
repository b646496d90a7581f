"""The application: global options and the list of commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mu2net.cli import audit, create, demo, evolve, export, inspection, report, serve, space, transfer, use, verify
from mu2net.cli.failures import CommandGroup
from mu2net.cli.options import DEFAULT_SYSTEM, SYSTEM_VARIABLE
from mu2net.errors import ConfigError

app = typer.Typer(
    name="mu2net",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if not is_wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"mu2net {version('mu2net')}")
    except PackageNotFoundError:
        raise ConfigError("mu2net is not installed, so it has no version; install it: pip install mu2net") from None
    raise typer.Exit


@app.callback()
def root(
    system: Annotated[
        Path, typer.Option("--system", metavar="DIR", envvar=SYSTEM_VARIABLE, help="Folder of the system.")
    ] = DEFAULT_SYSTEM,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """One image-classification network that keeps learning: tasks are added for ever, nothing is forgotten.

    Exit codes: 0 done, 1 verify found damage, 2 bad input, 70 a bug, 130 stopped at once by Ctrl-C.
    """
    del system, version  # read from the context by the commands


COMMANDS: dict[str, Callable[..., None]] = {
    "init": create.init,
    "add": create.add,
    "evolve": evolve.evolve,
    "tasks": inspection.tasks,
    "show": inspection.show,
    "history": inspection.history,
    "predict": use.predict,
    "serve": serve.serve,
    "export": export.export,
    "import-task": transfer.import_task,
    "export-system": transfer.export_system,
    "report": report.report,
    "eval": use.evaluate,
    "verify": verify.verify,
    "repair": verify.repair,
    "backup": verify.backup,
    "restore": verify.restore,
    "provenance": audit.provenance,
    "remove": audit.remove,
    "undo": audit.undo,
    "collect": space.collect,
    "compact-history": space.compact_history,
    "du": space.du,
    "agents": inspection.agents,
    "demo": demo.demo,
}
"""The commands by name, in the order of the help."""

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Run the command line: the entry point ``mu2net``."""
    app()
