"""The command ``report``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, plural, progress_console, say
from mu2net.cli.session import open_system
from mu2net.cli.view import watching


def report(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the page.")] = Path(
        "mu2net-report.html"
    ),
    public: Annotated[bool, typer.Option("--public", help="Leave private tasks out.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not look at test images: no confusions, calibration and mistakes.")
    ] = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page that shows the network, who shares what, what each task cost, and how it was found.

    One HTML file, which needs no network. With --json, everything that it shows goes to standard output instead.
    """
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), "report") as view:
        from mu2net.nn.roots import backbone_from_config
        from mu2net.report.gather import gather
        from mu2net.report.page import render
        from mu2net.report.quality import measure_quality
        from mu2net.store.files import Files, nothing_lost
        from mu2net.store.store import Store

        store = Store.open(opened.directory)
        backbone = backbone_from_config(store.config.backbone)
        measure = None if quick else partial(measure_quality, store, backbone, observer=view)
        found = gather(store, with_private=not public, measure=measure)
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
            return
        page = render(found).encode()
        with nothing_lost(f"report {out}"):
            Files().make_folder(out.absolute().parent)
            Files().replace(out.absolute(), page, 0o644)
    say(console(), f"{plural(len(found.tasks), 'task')} in {out} ({len(page) / 1e6:.1f} MB); open it in a browser")
