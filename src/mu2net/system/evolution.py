"""Runs one cycle of a task: its options, the lock, the workers, Ctrl-C."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mu2net.data.task import TaskData
from mu2net.errors import ConfigError
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import choose_device
from mu2net.search.budget import Budget
from mu2net.search.clock import Clock
from mu2net.search.config import SearchConfig
from mu2net.search.cycle import Cycle, Workshop
from mu2net.search.events import Observer, Preparing
from mu2net.search.executor import ProcessExecutor, default_workers
from mu2net.search.images import open_activations
from mu2net.search.interrupt import InterruptHandler
from mu2net.store.records import CycleRecord
from mu2net.store.store import Store
from mu2net.train.events import TrainingStopped

DEFAULT_SECONDS = 600.0
"""Time budget of a cycle for which none is given."""


@dataclass(frozen=True)
class Evolution:
    """One call of ``System.evolve``.

    Args:
        store: The system.
        backbone: What slots compute.
        name: The task.
        options: Fields of ``SearchConfig`` that were given.
        budget: The budget that was given; ``None`` for the interrupted cycle's, or 10 minutes.
        workers: Number of worker processes at most; ``None`` for one per core on a CPU, and one on an accelerator.
        restart: Whether an interrupted cycle is given up.
        cache_limit: Bytes of kept activations; 0 to keep none, ``None`` for the default.
    """

    store: Store
    backbone: Backbone
    name: str
    options: Mapping[str, Any]
    budget: Budget | None
    workers: int | None
    restart: bool
    cache_limit: int | None = None

    def run(self, load: Callable[[Observer], TaskData], observer: Observer, *, handle_interrupts: bool) -> None:
        """Run the cycle to its end; see ``System.evolve``.

        Args:
            load: Returns the task's images, and tells an observer about it.
            observer: Told what happens.
            handle_interrupts: Whether Ctrl-C ends the cycle cleanly instead of raising.
        """
        self.store.task(self.name)
        with (
            self.store.evolving(self.name),
            InterruptHandler(is_active=handle_interrupts, observer=observer) as interrupts,
        ):
            interrupted = self.store.running_cycle(self.name)
            record = None if self.restart else interrupted
            config = self._config(record)
            with self._executor(config) as executor:
                tell = _interruptible(observer, interrupts)
                cache = open_activations(self.store, self.cache_limit)
                workshop = Workshop(self.store, self.backbone, executor, tell, lambda: interrupts.request, cache)
                budget = self._budget(record)
                clock = Clock(budget.seconds, record.spent_seconds if record else 0.0)
                replaces = None if record else interrupted
                Cycle(workshop, load(tell), config, budget, clock, record, replaces=replaces).run()

    def _config(self, record: CycleRecord | None) -> SearchConfig:
        if record is not None:
            return _resumed(record, self.options)
        return SearchConfig(**{"seed": self.store.config.seed, **self.options})

    def _budget(self, record: CycleRecord | None) -> Budget:
        if self.budget is not None:
            return self.budget
        return Budget(**record.config["budget"]) if record is not None else Budget(DEFAULT_SECONDS)

    def _executor(self, config: SearchConfig) -> ProcessExecutor:
        """Return the workers: no more than children that train at the same time."""
        if self.cache_limit is not None and self.cache_limit < 0:
            raise ConfigError(f"cache_limit is {self.cache_limit}; expected 0, for no cache, or more bytes")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers is {self.workers}; expected at least 1")
        is_cpu = choose_device(config.device).type == "cpu"
        wanted = self.workers or (default_workers() if is_cpu else 1)
        return ProcessExecutor(self.store, self.name, min(wanted, config.generation_size), self.cache_limit)


def _interruptible(observer: Observer, interrupts: InterruptHandler) -> Observer:
    """Return an observer that also ends work of which nobody else asks whether it should go on."""

    def tell(event: object) -> None:
        observer(event)
        if isinstance(event, Preparing) and interrupts.request == "now":
            raise TrainingStopped(f"stopped at once while {event.what}; what was recorded before is safe")

    return tell


def _resumed(record: CycleRecord, options: Mapping[str, Any]) -> SearchConfig:
    """Return the configuration of an interrupted cycle, which the given options must not contradict."""
    config = SearchConfig.from_json(record.config["search"])
    wanted = dataclasses.replace(config, **options)
    changed = wanted.differences(config)
    if changed:
        said = ", ".join(f"{name} {getattr(wanted, name)!r} instead of {getattr(config, name)!r}" for name in changed)
        raise ConfigError(
            f"an interrupted cycle of task {record.task!r} waits to go on, and these options differ: {said}; "
            "leave them out to go on with it, or give it up with --restart"
        )
    return config
