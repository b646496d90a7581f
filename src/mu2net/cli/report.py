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
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also write figures as PNG and SVG.", show_default=False),
    ] = None,
    animation: Annotated[
        Path | None,
        typer.Option(
            "--animation", metavar="FILE", help="Also write the growth as a film, .gif or .mp4.", show_default=False
        ),
    ] = None,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page that shows the network, who shares what, what each task cost, and how it was found.

    One HTML file, which needs no network. With --json, everything that it shows goes to standard output instead.
    """
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), "report") as view:
        from mu2net.nn.roots import backbone_from_config
        from mu2net.report.figures import write_figures
        from mu2net.report.film import write_film
        from mu2net.report.gather import gather
        from mu2net.report.page import render
        from mu2net.report.quality import measure_quality
        from mu2net.store.files import Files, nothing_lost
        from mu2net.store.store import Store

        store = Store.open(opened.directory)
        backbone = backbone_from_config(store.config.backbone)
        measure = None if quick else partial(measure_quality, store, backbone, observer=view)
        found = gather(store, with_private=not public, measure=measure)
        with nothing_lost("the figures"):
            drawn = [] if figures is None else write_figures(found, figures)
            frames = 0 if animation is None else write_film(found, animation)
        if as_json:
            typer.echo(found.model_dump_json(indent=2))
            return
        page = render(found).encode()
        with nothing_lost(f"report {out}"):
            Files().make_folder(out.absolute().parent)
            Files().replace(out.absolute(), page, 0o644)
    say(console(), f"{plural(len(found.tasks), 'task')} in {out} ({len(page) / 1e6:.1f} MB); open it in a browser")
    if drawn:
        say(console(), f"{plural(len(drawn), 'figure')} in {figures}")
    if frames:
        say(console(), f"{plural(frames, 'frame')} in {animation}")
