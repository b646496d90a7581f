"""The command ``export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, plural, print_json, progress_console, say
from mu2net.cli.session import open_system
from mu2net.cli.view import watching


def export(
    context: typer.Context,
    names: Annotated[
        str,
        typer.Argument(metavar="TASKS", help="A task; for ONNX also several as a,b, or '*'.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.", show_default=False)],
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="safetensors, onnx, torch or hf.")
    ] = "safetensors",
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand a task to people who do not use mu2net; refused where it would answer otherwise than the path."""
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), names) as view:
        from mu2net.export.task import export_tasks

        chosen = [name.strip() for name in names.split(",") if name.strip()]
        exported = export_tasks(opened.directory, chosen, format_name, out, view)
    if as_json:
        print_json(asdict(exported))
        return
    tasks = ", ".join(exported.tasks)
    say(console(), f"{tasks} in {exported.folder}: {', '.join(exported.files)} ({exported.num_bytes / 1e6:.1f} MB)")
    say(
        console(),
        f"answers {plural(exported.images, 'real image')} as in the system: all labels equal, "
        f"logits within {exported.difference:.1e}",
    )
    for note in exported.notes:
        say(console(), note, "yellow")
    if exported.left_out:
        say(console(), f"left out because private: {', '.join(exported.left_out)}; name them to export them", "yellow")
