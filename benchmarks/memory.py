"""Peak memory of a generation in mu2net and in the plain loop, each in processes of its own.

Memory is the proportional set size (PSS), summed over a process and all that descend from it.
``python -m benchmarks.memory FOLDER TASK SEED`` is mu2net's side.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from benchmarks.cases import GENERATION
from benchmarks.children import BATCH_SIZE, Budget, Child, pipeline_of, plain_network, propose, train
from benchmarks.workplace import Workplace, open_workplace
from mu2net.nn.roots import backbone_from_config
from mu2net.nn.vit import Vit
from mu2net.search.executor import ProcessExecutor, default_workers
from mu2net.store.store import Store

GAP_SECONDS = 0.05
"""Time between two samples."""


def generation(place: Workplace, seed: int) -> list[Child]:
    """Return the children whose memory is measured."""
    return propose(place, "mu2net", GENERATION, seed, augments=False)


def peak_of_mu2net(folder: Path, task: str, seed: int) -> int:
    """Return the peak of mu2net and its workers on one pass of a generation, in bytes.

    Args:
        folder: A workplace's folder, whose images are prepared.
        task: The task in it.
        seed: Seed of the generation.
    """
    return _peak("benchmarks.memory", str(folder), task, str(seed))


def peak_of_plain_loop(place: Workplace, seed: int, folder: Path) -> int:
    """Return the peak of the plain loop for the same children, one after another, in bytes.

    Args:
        place: The system.
        seed: Seed of the generation.
        folder: Gets what the other process needs; must not exist yet.
    """
    export_children(place, generation(place, seed), folder)
    return _peak("benchmarks.plain_memory", str(folder))


def export_children(place: Workplace, children: Sequence[Child], folder: Path) -> None:
    """Write networks and images for a process that holds nothing of mu2net.

    Args:
        place: A system whose root is a vision transformer.
        children: The children.
        folder: Gets the files; must not exist yet.
    """
    backbone = place.backbone
    assert isinstance(backbone, Vit)
    folder.mkdir(parents=True)
    trainable = []
    for number, child in enumerate(children):
        network = plain_network(place, child.job)
        save_file(network.state_dict(), folder / f"{number}.safetensors")
        trainable.append([name for name, parameter in network.named_parameters() if parameter.requires_grad])
    for name, split in (("train", place.data.train), ("validation", place.data.validation)):
        np.save(folder / f"{name}.npy", split.pixels(backbone.image_size)[np.arange(len(split))])
        np.save(folder / f"{name}-labels.npy", split.labels)
    job = {
        "trainable": trainable,
        "heads": backbone.heads,
        "eps": backbone.eps,
        "batch_size": BATCH_SIZE,
        "mean": backbone.normalisation.mean,
        "std": backbone.normalisation.std,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def _peak(module: str, *arguments: str) -> int:
    command = [sys.executable, "-m", module, *arguments]
    peak = 0
    with subprocess.Popen(command) as process:  # noqa: S603 (our own module)
        while process.poll() is None:
            peak = max(peak, tree_pss(process.pid))
            time.sleep(GAP_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{module} ended with exit code {process.returncode}; its memory is not measured")
    return peak


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


def main(folder: str, task: str, seed: str) -> None:
    """Train one generation for one pass, from an empty cache."""
    backbone = backbone_from_config(Store.open(Path(folder) / "system").config.backbone)
    place = open_workplace(Path(folder), task, (pipeline_of(backbone, augments=False),))
    place.forget_training()
    with ProcessExecutor(place.store, place.data.name, default_workers()) as executor:
        train(place, executor, generation(place, int(seed)), Budget(1))


if __name__ == "__main__":
    main(*sys.argv[1:])
