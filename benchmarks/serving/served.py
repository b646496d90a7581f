"""A system of tasks that share three quarters of their blocks, and servers of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq

from mu2net.nn.roots import backbone_from_config
from mu2net.store.store import Store
from mu2net.system import System

TASKS = ("rsscn7", "chinese_mnist", "gtsrb", "cmaterdb_bangla", "kmnist", "dtd10", "caltech101", "pacs_sketch")
"""The tasks by default: eight of ``shared/bench/diverse10``."""


def make_system(folder: Path, root: str, tasks: Path, names: Sequence[str], trained: int) -> None:
    """Make a system whose tasks each train the last blocks of the root and a head of their own, for a moment.

    How well they do does not matter here; the shape of their paths does.

    Args:
        folder: Where; one that is complete is left as it is.
        root: Its root.
        tasks: The folder with a folder of Parquet files per task.
        names: Which tasks.
        trained: How many blocks each trains.
    """
    if not (folder / "mu2net.toml").exists():
        System.create(folder, root=root).close()
    with System.open(folder) as system:
        depth = backbone_from_config(Store.open(folder).config.backbone).anatomy.depth
        known = {task.name: task for task in system.tasks()}
        for name in names:
            if name not in known:
                system.add_task(name, tasks / name)
            if name not in known or known[name].path_id is None:
                system.evolve(
                    name,
                    agent=f"freeze:{depth - trained}",
                    children=1,
                    num_validations=1,
                    examples_per_validation=256,
                    generation_size=1,
                )


def encoded_images(folder: Path, count: int, seed: int) -> list[bytes]:
    """Return the files of some test images of a task, drawn at random.

    Args:
        folder: The task's Parquet files.
        count: How many, at most.
        seed: Of the draw.
    """
    files = sorted(folder.glob("test-*.parquet"))
    images = [image["bytes"] for file in files for image in pq.read_table(file, columns=["image"])["image"].to_pylist()]
    rows = np.random.default_rng(seed).permutation(len(images))[:count]
    return [images[row] for row in rows]


@dataclass(frozen=True)
class Start:
    """How a server is started.

    Args:
        folder: The system.
        threads: Threads of its network, which then wait without spinning; ``None`` for what a server has by itself.
        options: Further options of ``mu2net serve``.
    """

    folder: Path
    threads: int | None
    options: tuple[str, ...] = ()


class Server:
    """A server process, on loopback.

    Args:
        start: How it is started.
    """

    def __init__(self, start: Start) -> None:
        main = [sys.executable, "-c", "from mu2net.cli import main; main()"]
        options = ["--system", str(start.folder), "--port", "0", "--json", *start.options]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
        if start.threads is not None:
            environment |= {"OMP_NUM_THREADS": str(start.threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [*main, "serve", *options], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        lines = list(takewhile(lambda line: not line.startswith("}"), self.process.stdout))
        if not lines:
            raise RuntimeError(f"the server of {start.folder} did not start")
        told: dict[str, Any] = json.loads("".join(lines) + "}")
        self.url = str(told["url"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)
