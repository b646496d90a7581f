"""A tiny system with two tasks of pictures, and cycles that train in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from mu2net.core.path import Path as NetworkPath
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
from mu2net.nn.flops import count_parameters
from mu2net.nn.roots import backbone_from_config, load_root
from mu2net.search.budget import Budget
from mu2net.search.clock import Clock
from mu2net.search.config import SearchConfig
from mu2net.search.cycle import Cycle, Workshop
from mu2net.search.events import StopRequest
from mu2net.search.executor import Executor, LocalExecutor
from mu2net.search.images import CACHE_NAME, load_recorded_task
from mu2net.search.processes import end_workers, start_workers
from mu2net.search.worker import Ready
from mu2net.store.config import SystemConfig
from mu2net.store.records import CycleRecord, NewComponent, TaskRecord
from mu2net.store.store import Store

ROOT = "vit:dim=16,depth=2,heads=2,patch=4,image=8"
SMALL = {
    "generation_size": 2,
    "batch_size": 16,
    "num_validations": 2,
    "examples_per_validation": 48,
    "hparams": {"opt_lr": 0.1},
    "attention": "sdpa",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def add_task(store: Store, name: str, folder: Path, *, is_private: bool = False) -> None:
    source = TaskSource(name=name, source=str(folder))
    data = load_task(source, store.directory / CACHE_NAME)
    store.add_task(TaskRecord(name, source.model_dump(mode="json"), data.classes, data.fingerprint, is_private))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, pictures: Callable[..., Path]) -> Path:
    """The folder of a system with the tasks ``one`` and ``two``, none of them evolved."""
    place = tmp_path_factory.mktemp("search")
    root = load_root(ROOT, seed=0)
    config = SystemConfig(root=ROOT, root_source=json.dumps(root.source), backbone=root.backbone.config(), seed=5)
    store = Store.create(place / "system", config)
    parts = [
        NewComponent(slot, tensors, count_parameters(root.backbone, slot, tensors)) for slot, tensors in root.components
    ]
    anatomy = root.backbone.anatomy
    store.put_root(parts, {"num_layers": anatomy.depth, "ds_image_size": anatomy.image_size})
    for seed, name in enumerate(("one", "two")):
        add_task(store, name, pictures(place / name, seed=seed))
    return store.directory


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Store:
    """A fresh copy of the system."""
    return Store.open(shutil.copytree(template, tmp_path / "system"))


@dataclass
class Laboratory:
    """Runs cycles of a store in this process, and keeps what they tell.

    Args:
        store: The system.
        executor: Where children train; this process by default.
        events: Everything that was told.
        stop: What the user wants, asked again and again.
        watch: Called with every event.
    """

    store: Store
    executor: Executor | None = None
    events: list[object] = field(default_factory=list)
    stop: Callable[[], StopRequest] = lambda: "no"
    watch: Callable[[object], None] = lambda event: None

    def cycle(
        self, task: str, budget: Budget, record: CycleRecord | None = None, clock: Clock | None = None, **config: Any
    ) -> Cycle:
        values = {"seed": 5, **SMALL, **config}
        return Cycle(
            self.workshop(),
            load_recorded_task(self.store, task),
            SearchConfig.from_json(record.config["search"]) if record else SearchConfig(**values),
            budget,
            clock or Clock(budget.seconds),
            record,
        )

    def run(self, task: str, *, children: int = 2, **config: Any) -> NetworkPath:
        return self.cycle(task, Budget(children=children), **config).run()

    def resume(self, task: str, budget: Budget) -> NetworkPath:
        return self.cycle(task, budget, self.store.running_cycle(task)).run()

    def workshop(self) -> Workshop:
        backbone = backbone_from_config(self.store.config.backbone)
        executor = self.executor or LocalExecutor(self.store)
        return Workshop(self.store, backbone, executor, self._observe, lambda: self.stop())

    def _observe(self, event: object) -> None:
        self.events.append(event)
        self.watch(event)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def lab(store: Store) -> Laboratory:
    return Laboratory(store)


@pytest.fixture
def make_lab() -> Callable[..., Laboratory]:
    return Laboratory


@pytest.fixture
def new_task() -> Callable[..., None]:
    return add_task


@pytest.fixture
def start(store):
    """Starts workers that have opened the system; ends them."""
    started = []

    def begin(count):
        workers = start_workers(count)
        started.append(workers)
        for worker in workers:
            worker.connection.send((str(store.directory), "one", 0))
        for worker in workers:
            assert worker.connection.poll(60)
            ready = worker.connection.recv()
            assert isinstance(ready, Ready)
            worker.pid = ready.pid
        return workers

    yield begin
    for workers in started:
        end_workers(workers)
