"""The command that searches: ``evolve``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import typer

from mu2net.cli import evolve_options as given
from mu2net.cli.options import JsonOption, SystemOption, parse_duration, parse_settings, parse_size
from mu2net.cli.output import console, print_json, progress_console, say
from mu2net.cli.session import open_system
from mu2net.cli.tables import leaderboard
from mu2net.cli.view import watching
from mu2net.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from mu2net.report.trackers import Tracker
    from mu2net.search.events import Observer
    from mu2net.system import System
    from mu2net.system.summary import TaskSummary


def evolve(
    context: typer.Context,
    names: given.Names = None,
    time: given.Time = None,
    children: given.Children = None,
    examples: given.Examples = None,
    agent: given.Agent = None,
    s_size: given.SizePenalty = None,
    s_compute: given.ComputePenalty = None,
    seed: given.Seed = None,
    settings: given.Settings = None,
    fixed: given.Fixed = None,
    generation_size: given.GenerationSize = None,
    restart: given.Restart = False,
    batch_size: given.BatchSize = None,
    num_validations: given.NumValidations = None,
    examples_per_validation: given.ExamplesPerValidation = None,
    precision: given.Precision = None,
    attention: given.Attention = None,
    device: given.Device = None,
    workers: given.Workers = None,
    threads: given.Threads = None,
    views: given.Views = None,
    rounding: given.RoundingOption = None,
    cache_limit: given.CacheLimit = None,
    track: given.Track = None,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for better paths of tasks, and publish the best of each.

    Ctrl-C once finishes the running interval and publishes; twice stops at once.
    The same command goes on with an interrupted search.
    """
    budget = {"seconds": None if time is None else parse_duration(time), "children": children, "examples": examples}
    search = {"agent": agent, "s_size": s_size, "s_compute": s_compute, "seed": seed, "restart": restart}
    hparams: dict[str, Any] = {
        "hparams": parse_settings(settings) if settings else None,
        "generation_size": generation_size,
    }
    hparams["fixed"] = fixed or None
    child = {"batch_size": batch_size, "num_validations": num_validations}
    child["examples_per_validation"] = examples_per_validation
    machine = {"precision": precision, "attention": attention, "device": device, "workers": workers, "threads": threads}
    cache = {
        "views": views,
        "rounding": rounding,
        "cache_limit": cache_limit and parse_size("--cache-limit", cache_limit),
    }
    with open_system(context, system) as opened:
        summaries = _evolve_all(
            opened, names or [], budget | search | hparams | child | machine | cache, track or [], as_json=as_json
        )
    if as_json:
        print_json([summary.to_dict() for summary in summaries])
    else:
        console().print(leaderboard(summaries))


def _evolve_all(
    system: System, names: list[str], options: Mapping[str, Any], track: list[str], *, as_json: bool
) -> list[TaskSummary]:
    """Evolve tasks one after another; all names are checked before the first one starts."""
    for name in names:
        system.task(name)
    names = names or [task.name for task in system.tasks()]
    if not names:
        raise ConfigError("the system has no task yet; add one first: mu2net add NAME SOURCE")
    progress = progress_console(as_json=as_json)
    summaries = []
    with _tracking(track, system, progress) as trackers:
        for position, name in enumerate(names):
            with watching(progress, name) as view:
                observer = _together([view, *trackers])
                summaries.append(system.evolve(name, **options, observer=observer, handle_interrupts=True))
            left = names[position + 1 :]
            if view.is_stop_requested and left:
                say(progress, f"stopped by Ctrl-C; not evolved: {', '.join(left)}", "yellow")
                break
    return summaries


@contextmanager
def _tracking(places: list[str], system: System, progress: Console) -> Iterator[list[Tracker]]:
    """Open trackers, and close them at the end, whatever happened."""
    if not places:
        yield []
        return
    from mu2net.report.trackers import open_tracker
    from mu2net.train.events import Warned

    def tell(event: object) -> None:
        if isinstance(event, Warned):
            say(progress, event.text, "yellow")

    with ExitStack() as stack:
        yield [
            stack.enter_context(closing(open_tracker(place, system.directory.resolve().name, tell))) for place in places
        ]


def _together(observers: Sequence[Observer]) -> Observer:
    """Return an observer that passes on what it is told."""

    def observe(event: object) -> None:
        for observer in observers:
            observer(event)

    return observe if len(observers) > 1 else observers[0]
