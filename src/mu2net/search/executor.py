"""Executors: where groups of children train. What a child becomes does not depend on the executor."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any, Protocol, Self

import torch

from mu2net.core.anatomy import Anatomy
from mu2net.errors import WorkerError
from mu2net.search.processes import WorkerProcess, end_workers, start_workers
from mu2net.search.worker import Failure, Order, Stop
from mu2net.store.store import Store
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.augment import train_side
from mu2net.train.child import ChildJob, ComponentSource, TrainedChild
from mu2net.train.events import BatchDone, IntervalDone, Observer, StopCheck, StopSignal, TrainingStopped, Warned
from mu2net.train.group import TrainGroup
from mu2net.train.prefix import Prefixes
from mu2net.train.session import train_group

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1


class Executor(Protocol):
    """Trains groups of children."""

    @property
    def parallelism(self) -> int:
        """Number of children that train at the same time."""
        ...

    def submit(
        self, groups: Sequence[TrainGroup], observer: Observer, should_stop: StopCheck
    ) -> Iterator[TrainedChild]:
        """Train the children of some groups; yield each when it is finished, in any order.

        Args:
            groups: What to train.
            observer: Told about batches and intervals.
            should_stop: Asked again and again whether to go on.

        Raises:
            TrainingStopped: ``should_stop`` said ``now``; children that were not yielded are lost.
        """
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Trains in this process, in lock-step on shared batches.

    Args:
        source: Where components and momentum come from.
        cache: Where activations are kept; ``None`` to keep none.
    """

    source: ComponentSource
    cache: ActivationCache | None = None

    @property
    def parallelism(self) -> int:
        """One: lock-step children share the time."""
        return 1

    def submit(
        self, groups: Sequence[TrainGroup], observer: Observer, should_stop: StopCheck
    ) -> Iterator[TrainedChild]:
        """Train one group after the other; yield the children of each when all of them are finished."""
        for group in groups:
            prefixes = Prefixes(self.cache, group.config.rounding)
            yield from train_group(group, self.source, prefixes=prefixes, observer=observer, should_stop=should_stop)


def default_workers() -> int:
    """Return the number of cores that this process may use: one worker with one thread on each is fastest."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProcessExecutor:
    """Trains in worker processes, one thread each; every worker takes a part of the group in lock-step.

    Workers start with the first group and end with ``close``, or when this process ends, however it does.

    Args:
        store: The system.
        task: Name of the task, whose images every worker maps into its memory.
        workers: Number of processes.
        cache_limit: Bytes of kept activations; 0 to keep none, ``None`` for the default.
    """

    def __init__(self, store: Store, task: str, workers: int, cache_limit: int | None = None) -> None:
        self._greeting = (str(store.directory), task, cache_limit)
        self._warned: set[str] = set()
        self._size = workers
        self._workers: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def parallelism(self) -> int:
        """Number of workers."""
        return self._size

    def close(self) -> None:
        """End all workers."""
        end_workers(self._workers)
        self._workers.clear()

    def submit(
        self, groups: Sequence[TrainGroup], observer: Observer, should_stop: StopCheck
    ) -> Iterator[TrainedChild]:
        """Train the children of some groups; a group is split among the workers, unless its children are compared.

        Raises:
            TrainingStopped: ``should_stop`` said ``now``.
            WorkerError: A worker failed or was killed, for instance because memory ran out.
        """
        for group in groups:
            _decode_once(group)
        if not self._workers:
            self._start(observer, should_stop)
        orders = deque(
            Order(part, replace(group.config, threads=group.config.threads or 1), group.seed_key)
            for group in groups
            for part in self._parts(group)
        )
        yield from self._collect(orders, observer, should_stop)

    def _parts(self, group: TrainGroup) -> list[tuple[ChildJob, ...]]:
        """Return which children of a group train together; only together can they find an equal length."""
        config = group.config
        is_timed = config.seconds is not None
        parts = 1 if config.is_comparison and is_timed else self._size
        return split_jobs(group.jobs, parts, group.backbone.anatomy, are_timed=is_timed)

    def _collect(self, orders: deque[Order], observer: Observer, should_stop: StopCheck) -> Iterator[TrainedChild]:
        idle: dict[Any, int] = {worker.connection: number for number, worker in enumerate(self._workers)}
        busy: dict[Any, int] = {}
        signal: StopSignal = "no"
        told: StopSignal = "no"
        failures: list[Exception] = []
        while busy or orders:
            signal = "now" if failures else should_stop()
            if signal == "now":
                orders.clear()
            while orders and idle:
                connection, number = idle.popitem()
                busy[connection] = number
                self._send(connection, busy, orders.popleft())
                told = "no"
            if signal != told:
                told = signal
                for connection in busy:
                    self._send(connection, busy, Stop(signal))
            for connection in wait(list(busy), timeout=_POLL_SECONDS):
                message = self._receive(connection, busy)
                if isinstance(message, Warned):
                    self._warn(message)
                    continue
                if isinstance(message, BatchDone | IntervalDone):
                    observer(message)
                    continue
                if isinstance(message, TrainedChild):
                    yield unpack(message)
                    continue
                idle[connection] = busy.pop(connection)
                if isinstance(message, Failure):
                    failures.append(message.error)
        if failures:
            raise failures[0]
        if signal == "now":
            raise TrainingStopped("training was stopped at once; what was recorded before is safe")

    def _warn(self, event: Warned) -> None:
        """Log what a worker logged; what several of them say, once."""
        if event.text not in self._warned:
            self._warned.add(event.text)
            _LOG.warning("%s", event.text)

    def _send(self, connection: Any, busy: dict[Any, int], message: object) -> None:
        try:
            connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._lost(busy[connection]) from None

    def _receive(self, connection: Any, busy: dict[Any, int]) -> Any:
        try:
            return connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._lost(busy[connection]) from None

    def _lost(self, number: int) -> WorkerError:
        """End all workers, and return the error for one that ended by itself."""
        worker = self._workers[number]
        self.close()
        code = worker.exit_code()
        return WorkerError(
            f"worker process {worker.pid} ended with exit code {code} before it answered; "
            "what was recorded before is safe. If memory ran out, use fewer workers or a smaller batch size"
        )

    def _start(self, observer: Observer, should_stop: StopCheck) -> None:
        self._workers = start_workers(self._size)
        waiting: dict[Any, int] = {worker.connection: number for number, worker in enumerate(self._workers)}
        for connection in list(waiting):
            self._send(connection, waiting, self._greeting)
        while waiting:
            if should_stop() == "now":
                self.close()
                raise TrainingStopped("stopped at once, while workers were starting; what was recorded before is safe")
            observer(BatchDone("prepare", -1, self._size - len(waiting), self._size))
            for connection in wait(list(waiting), timeout=1.0):
                answer = self._receive(connection, waiting)
                if isinstance(answer, Warned):
                    self._warn(answer)
                    continue
                if isinstance(answer, Failure):
                    self.close()
                    raise answer.error
                self._workers[waiting.pop(connection)].pid = answer.pid


def _decode_once(group: TrainGroup) -> None:
    """Fill the pixel caches that a group reads, so that its workers map one file instead of all decoding."""
    group.task.train.pixels(train_side(group.pipeline, group.task.train))
    group.task.validation.pixels(group.pipeline.image_size)


def split_jobs(
    jobs: Sequence[ChildJob], parts: int, anatomy: Anatomy, *, are_timed: bool = False
) -> list[tuple[ChildJob, ...]]:
    """Return the children in at most ``parts`` groups of about equal work.

    The most expensive are dealt out first; then children of the fullest group change places with cheaper ones of the
    emptiest, as long as that brings the two closer.

    Args:
        jobs: The children.
        parts: Number of groups at most.
        anatomy: The network, whose blocks may differ in their cost.
        are_timed: Whether all children take equal time, whatever they train.
    """
    groups: list[list[ChildJob]] = [[] for _ in range(min(parts, len(jobs)))]
    work = {job.id: 1.0 if are_timed else _work(job, anatomy) for job in jobs}

    def load(group: Sequence[ChildJob]) -> float:
        return sum(work[job.id] for job in group)

    for job in sorted(jobs, key=lambda job: work[job.id], reverse=True):
        min(groups, key=load).append(job)
    while True:
        emptiest, fullest = min(groups, key=load), max(groups, key=load)
        swap = _best_swap(fullest, emptiest, work, load(fullest) - load(emptiest))
        if swap is None:
            return [tuple(group) for group in groups]
        out_of_fullest, out_of_emptiest = swap
        fullest[fullest.index(out_of_fullest)] = out_of_emptiest
        emptiest[emptiest.index(out_of_emptiest)] = out_of_fullest


def _best_swap(
    fullest: Sequence[ChildJob], emptiest: Sequence[ChildJob], work: Mapping[str, float], gap: float
) -> tuple[ChildJob, ChildJob] | None:
    """Return the children of two groups that change places so that the gap between the groups becomes smallest.

    ``None`` where no swap makes it smaller by at least a hundredth of it.
    """
    pairs = [(abs(gap - 2 * (work[a.id] - work[b.id])), a, b) for a in fullest for b in emptiest]
    left, first, second = min(pairs, key=lambda pair: pair[0], default=(gap, None, None))
    return None if first is None or second is None or left >= 0.99 * gap else (first, second)


def _work(job: ChildJob, anatomy: Anatomy) -> float:
    """Return the cost of a child's own part of a step, in about the forward passes of an average block.

    Below its lowest trainable slot it is shared with the other children or kept; from there on a trainable slot costs
    3, and a frozen one, through which gradients pass, 2. What every child has, and slots beside the blocks, count 1.
    """
    plans = job.proposal.slots
    lowest = next((index for index, plan in enumerate(plans) if plan.is_trainable), len(plans))
    return 1 + sum((3 if plan.is_trainable else 2) * anatomy.share_of(plan.slot) for plan in plans[lowest:])


def unpack(child: TrainedChild) -> TrainedChild:
    """Return a trained child that a worker sent, with tensors again."""
    tensors, momentum = (
        {slot: {name: torch.from_numpy(array) for name, array in arrays.items()} for slot, arrays in part.items()}
        for part in (child.tensors, child.momentum)
    )
    return TrainedChild(child.id, tensors, momentum, child.metrics)
