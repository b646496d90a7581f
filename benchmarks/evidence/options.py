"""What the command line of the comparison asks for."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.keys import EXPERIMENTS, Condition, Experiment
from benchmarks.evidence.roots import Root
from mu2net.cli.options import parse_duration, parse_settings
from mu2net.core.path import Value
from mu2net.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results" / "diverse10.json"
PAGE = REPOSITORY / "docs" / "benchmark.md"
TASKS = Path("../shared/bench/diverse10")
"""Where tasks are by default, seen from the repository."""

ROOTS = ("lite0=efficientnet-lite0@96", "vit_s=file:../shared/roots/vit_small_patch14_98.safetensors")
"""The default roots; files are seen from the repository."""

AGENTS = (
    "budgeted",
    "mu2net",
    "tuned:linear",
    "tuned:freeze:9",
    "tuned:freeze:10",
    "tuned:adapters:32",
    "tuned:finetune",
    "lora:8",
)
"""The default agents."""

SETTINGS: dict[str, Value] = {
    "ds_area_range_min": 1.0,
    "ds_aspect_ratio_range_min": 1.0,
    "ds_flip_left_right": False,
}
"""Starting values of hyperparameters: no augmentation, which pays in hours, not in minutes."""

FIXED = (
    "ds_image_size",
    "ds_crop",
    "ds_area_range_min",
    "ds_aspect_ratio_range_min",
    "ds_flip_left_right",
    "ds_brightness_delta",
    "ds_contrast_delta",
    "ds_saturation_delta",
    "ds_hue_delta",
)
"""Hyperparameters that do not mutate: the image pipeline is the same for all."""

SEEDS = (0,)
TIME = "2m"


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Args:
        tasks: Folder of the tasks.
        only: Names of tasks to keep; all where there are none.
        roots: Where networks start.
        agents: Who learns.
        seeds: Each gives another order of tasks and other draws.
        condition: What is equal for all agents.
        jobs: Runs at a time.
        experiments: What to do.
        work: Where systems live.
        output: The file of the figures; the ledger lies beside it.
        page: The page whose tables are written; ``None`` for none.
        is_report: Whether nothing is run.
    """

    tasks: Path
    only: tuple[str, ...]
    roots: tuple[Root, ...]
    agents: tuple[str, ...]
    seeds: tuple[int, ...]
    condition: Condition
    jobs: int
    experiments: tuple[Experiment, ...]
    work: Path
    output: Path
    page: Path | None
    is_report: bool

    @property
    def ledger(self) -> Path:
        """The file of the records."""
        return self.output.with_suffix(".jsonl")


def default_roots() -> tuple[Root, ...]:
    """Return the default roots."""
    return tuple(Root.parse(text, REPOSITORY) for text in ROOTS)


def parse(arguments: Sequence[str] | None) -> Options:
    """Return what the command line asks for; a mistake in it ends the program with a message and code 2."""
    parser = _parser()
    found = parser.parse_args(arguments)
    try:
        settings, fixed = SETTINGS | parse_settings(found.set), tuple(sorted({*FIXED, *found.fix}))
        condition = Condition(
            None if found.examples else parse_duration(found.time or TIME),
            found.examples,
            tuple(sorted(settings.items())),
            fixed,
        )
        roots = tuple(Root.parse(text, Path.cwd()) for text in found.roots) if found.roots else default_roots()
    except ConfigError as error:
        parser.error(str(error))
    names = [root.name for root in roots]
    if len(set(names)) < len(names):
        parser.error(f"two roots have the same name: {', '.join(names)}")
    output = found.output.absolute()
    return Options(
        tasks=found.tasks,
        only=tuple(found.only),
        roots=roots,
        agents=tuple(dict.fromkeys(found.agents)),
        seeds=tuple(dict.fromkeys(found.seeds)),
        condition=condition,
        jobs=found.jobs,
        experiments=tuple(dict.fromkeys(found.experiment)),
        work=(found.work or default_work()).absolute(),
        output=output,
        page=found.page or (PAGE if output == RESULTS else None),
        is_report=found.report,
    )


def default_work() -> Path:
    """Return the folder of systems where none is named: in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mu2net" / "benchmarks"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite",
        description="Compares agents on a folder of tasks, at equal time per task. The same command goes on where it "
        "was interrupted.",
    )
    add = parser.add_argument
    add("--tasks", type=Path, default=REPOSITORY / TASKS, help=f"folder of tasks; default: {TASKS} beside this project")
    add("--only", nargs="+", default=[], metavar="TASK", help="some tasks only")
    add("--roots", nargs="+", metavar="NAME=SPEC[@SIZE]", help=f"default: {' '.join(ROOTS)}")
    add("--agents", nargs="+", default=AGENTS, metavar="AGENT", help=f"default: {' '.join(AGENTS)}")
    add("--seeds", nargs="+", type=_natural, default=SEEDS, metavar="N", help="each gives another order; default: 0")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--time", help=f"time per task, as in 90s or 2m; default: {TIME}")
    budget.add_argument("--examples", type=_positive, metavar="N", help="training examples per task, for smoke runs")
    add("--jobs", type=_positive, default=2, metavar="N", help="runs at a time, one thread each; default: 2")
    add("--experiment", nargs="+", choices=EXPERIMENTS, default=["table"], help="default: table")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="starting hyperparameters; without augmentation by default",
    )
    add("--fix", nargs="+", action="extend", default=[], metavar="NAME", help="more that do not mutate than ds_*")
    add("--work", type=Path, metavar="FOLDER", help=f"where systems live; default: {default_work()}")
    add("--output", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/diverse10.json")
    add(
        "--page",
        type=Path,
        metavar="FILE",
        help="page whose tables are written; default: docs/benchmark.md, and none with another --output",
    )
    add("--report", action="store_true", help="run nothing; write tables and pictures from the ledger")
    return parser


def _positive(text: str) -> int:
    number = _natural(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected at least 1")
    return number


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)
