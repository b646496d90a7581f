"""What safety costs: how long a publication keeps the registry, and how fast ``verify`` reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sqlalchemy.orm import Session

from benchmarks.spread import Spread
from benchmarks.trust.grown import add_task, make_store, publish
from mu2net.core.component import Slot
from mu2net.store.config import SystemConfig
from mu2net.store.records import NewComponent
from mu2net.store.store import Store
from mu2net.store.verify import check_files

COMPONENT_BYTES = 16 * 2**20


def publication_seconds(folder: Path, count: int, tasks: int = 10) -> np.ndarray:
    """Return the seconds of the transaction of each publication, shape ``[count]``.

    From before it asks for its turn until its commit is on the disk, the seal included; files were written before.

    Args:
        folder: Where the system is made; it must not exist.
        count: Publications, in turn for all tasks; each cycle records two children.
        tasks: Number of tasks.
    """
    store = make_store(folder)
    for number in range(tasks):
        add_task(store, f"task{number}")
    seconds: list[float] = []
    original = store.registry.writing

    @contextmanager
    def timed() -> Iterator[Session]:
        started = time.perf_counter()
        with original() as session:
            yield session
        seconds.append(time.perf_counter() - started)

    store.registry.writing = timed  # type: ignore[method-assign]
    publications = []
    for number in range(count):
        publish(store, f"task{number % tasks}", store.root(), number)
        publications.append(seconds[-1])
    return np.array(publications)


def verify_rates(folder: Path, gib: float, rounds: int = 5) -> Spread:
    """Return how many GiB per second a full check of files reads that are in the page cache.

    Args:
        folder: Where the system is made; it must not exist.
        gib: Size of its components.
        rounds: Measurements.
    """
    store = Store.create(folder, SystemConfig(root="random", backbone={"kind": "random"}, seed=0))
    generator = torch.Generator().manual_seed(0)
    number = max(1, round(gib * 2**30 / COMPONENT_BYTES))
    parts = [
        NewComponent(
            Slot(f"block_{index:02d}", "block"),
            {"weight": torch.randn(COMPONENT_BYTES // 4, generator=generator)},
            COMPONENT_BYTES // 4,
        )
        for index in range(number)
    ]
    store.put_root(parts, {})
    rates = []
    for _ in range(rounds):
        started = time.perf_counter()
        report = check_files(store)
        rates.append(report.num_bytes / 2**30 / (time.perf_counter() - started))
        if report.findings:
            raise RuntimeError(f"the system is damaged: {report.findings[0].message}")
    return Spread.of(rates)
