"""Peak memory of a generation in mu2net and in the plain loop, each in processes of its own.

``python -m benchmarks.memory SIDE FOLDER TASK SEED INTERVALS`` is one side; ``measure_memory`` starts and watches it.
Memory is the proportional set size (PSS) summed over a process and all that descend from it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.cases import GENERATION
from benchmarks.children import Budget, pipeline_of, plain_training, propose, train
from benchmarks.workplace import Workplace, open_workplace
from mu2net.nn.roots import backbone_from_config
from mu2net.search.executor import ProcessExecutor, default_workers
from mu2net.store.store import Store

Side = Literal["ours", "plain"]

GAP_SECONDS = 0.05
"""Time between two samples."""

_PLAIN_STEPS = 8


@dataclass(frozen=True)
class Peak:
    """The peak of one side.

    Args:
        bytes: Largest PSS of all its processes together.
        cache_bytes: What the activation cache held on disk at the end.
    """

    bytes: int
    cache_bytes: int


def measure_memory(folder: Path, task: str, seed: int, intervals: int, side: Side) -> Peak:
    """Run one side and return its peak.

    Args:
        folder: A workplace's folder, whose images are prepared.
        task: The task in it.
        seed: Seed of the generation.
        intervals: Intervals of every child, in mu2net.
        side: Which one.
    """
    arguments = [side, str(folder), task, str(seed), str(intervals)]
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 (our own module)
        while process.poll() is None:
            peak = max(peak, tree_pss(process.pid))
            time.sleep(GAP_SECONDS)
        answer = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"the {side} side of the memory benchmark ended with exit code {process.returncode}")
    return Peak(peak, json.loads(answer)["cache_bytes"])


def tree_pss(pid: int) -> int:
    """Return the PSS of a process and its descendants, in bytes; processes that end meanwhile count 0."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:
            continue
    tree, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in tree} - tree
        tree |= more
        grown = bool(more)
    return sum(_pss(member) for member in tree)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _train_ours(place: Workplace, seed: int, intervals: int) -> int:
    place.forget_training()
    with ProcessExecutor(place.store, place.data.name, default_workers()) as executor:
        train(place, executor, propose(place, "mu2net", GENERATION, seed, augments=False), Budget(intervals))
    return place.cache_bytes()


def _train_plain(place: Workplace, seed: int, intervals: int) -> int:
    for child in propose(place, "mu2net", GENERATION, seed, augments=False):
        training = plain_training(place, child, Budget(intervals))
        training.train(0, _PLAIN_STEPS)
        training.validate()
    return 0


def main(side: str, folder: str, task: str, seed: str, intervals: str) -> None:
    """Run one side; see the module."""
    backbone = backbone_from_config(Store.open(Path(folder) / "system").config.backbone)
    place = open_workplace(Path(folder), task, (pipeline_of(backbone, augments=False),))
    run = {"ours": _train_ours, "plain": _train_plain}[side]
    print(json.dumps({"cache_bytes": run(place, int(seed), int(intervals))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
