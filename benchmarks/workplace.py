"""A new system with one real task, in a folder of its own: where mu2net and the plain loop train the same children."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch

from mu2net import System
from mu2net.data.load import LoadedTask
from mu2net.nn.attention import AttentionKernel
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import choose_precision
from mu2net.nn.roots import backbone_from_config
from mu2net.search.arithmetic import cycle_attention
from mu2net.search.config import SearchConfig
from mu2net.search.images import CACHE_NAME, load_recorded_task
from mu2net.store.store import Store
from mu2net.train.augment import Pipeline, train_side

CPU = torch.device("cpu")

TEST_IMAGES = 2000
"""Images of the test split at most."""


@dataclass(frozen=True)
class Setting:
    """A root, and the task that its children learn.

    Args:
        root: Name of the root, as ``System.create`` takes it.
        task: Folder of the task among the tasks on disk; a name such as ``demo:digits`` for a built-in one.
        num_images: Training images at most, before the validation split is carved from them.
        image_size: Side of the input, in pixels; ``None`` for the root's own.
    """

    root: str
    task: str
    num_images: int
    image_size: int | None = None


@dataclass(frozen=True)
class Workplace:
    """A system with one task.

    Args:
        store: The system.
        backbone: What its slots compute.
        data: The task's images.
        attention: How attention is computed here: what a cycle chooses; ``None`` for the fixed rule.
        prepared: Files of the cache that were there before anything was trained.
    """

    store: Store
    backbone: Backbone
    data: LoadedTask
    attention: AttentionKernel | None
    prepared: frozenset[Path]

    @property
    def _cache(self) -> Path:
        return self.store.directory / CACHE_NAME

    def forget_training(self) -> None:
        """Delete what training left in the cache, so that the next run starts cold; no worker may be running."""
        for path in self._made_by_training():
            path.unlink()

    def _made_by_training(self) -> list[Path]:
        return [path for path in _files(self._cache) if path not in self.prepared]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def make_workplace(
    folder: Path, setting: Setting, tasks: Path | None, pipelines: tuple[Pipeline, ...], seed: int
) -> Workplace:
    """Make a system, add the task, and decode the images that some pipelines read.

    Args:
        folder: Gets the system; must not exist yet.
        setting: Root and task.
        tasks: Folder of the tasks on disk; ``None`` where the task is built in.
        pipelines: The image pipelines that children will use.
        seed: Seed of the system.
    """
    source = setting.task if tasks is None else str(_subset(tasks / setting.task, folder / "task", setting.num_images))
    system = System.create(folder / "system", root=setting.root, image_size=setting.image_size, seed=seed)
    name = setting.task.removeprefix("demo:")
    system.add_task(name, source)
    system.close()
    return open_workplace(folder, name, pipelines)


def open_workplace(folder: Path, task: str, pipelines: tuple[Pipeline, ...]) -> Workplace:
    """Open a system that ``make_workplace`` made."""
    store = Store.open(folder / "system")
    data = load_recorded_task(store, task)
    for pipeline in pipelines:
        data.train.pixels(train_side(pipeline, data.train))
        for split in (data.validation, data.test):
            split.pixels(pipeline.image_size)
    backbone = backbone_from_config(store.config.backbone)
    precision = choose_precision("auto", CPU)
    attention = cycle_attention(store, backbone, SearchConfig(), CPU, precision, None)
    prepared = frozenset(_files(store.directory / CACHE_NAME))
    return Workplace(store, backbone, data, attention, prepared)


def _subset(source: Path, target: Path, num_images: int) -> Path:
    """Copy the first rows of a task on disk, whose rows are shuffled; return the copy."""
    target.mkdir(parents=True)
    for file in sorted(source.glob("*.parquet")):
        is_train = file.name.startswith("train")
        rows = pq.read_table(file).slice(0, num_images if is_train else TEST_IMAGES)
        pq.write_table(rows, target / file.name)
    if not any(target.iterdir()):
        shutil.rmtree(target)
        raise FileNotFoundError(f"{source} holds no Parquet files; expected train-*.parquet and test-*.parquet")
    return target
