"""The command that proves that nothing was forgotten: ``verify``."""

from __future__ import annotations

import typer

from mu2net.cli.failures import EXIT_DAMAGED
from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, print_json, progress_console, say
from mu2net.cli.session import open_system
from mu2net.cli.tables import probe_table
from mu2net.cli.view import watching


def verify(context: typer.Context, system: SystemOption = None, as_json: JsonOption = False) -> None:
    """Prove that nothing was forgotten: hash every component again, and compute every path's probe again.

    Exits with 1 when anything differs from what was published.
    """
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), "verify") as view:
        found = opened.verify(observer=view)
    if as_json:
        print_json({**found.to_dict(), "is_intact": found.is_intact, "sentence": found.sentence()})
    else:
        out = console()
        if found.probes:
            out.print(probe_table(found.probes))
        for damage in found.damages:
            say(out, damage, "red")
        say(out, found.sentence(), "bold green" if found.is_intact else "bold red")
    if not found.is_intact:
        raise typer.Exit(EXIT_DAMAGED)
