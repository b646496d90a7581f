"""A worker: a process that trains groups of children for the process that started it.

``main`` runs in a new interpreter that inherits one end of a pipe. It ends when the other end is closed, so no worker
outlives a process that was killed.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from mu2net.errors import Mu2NetError, WorkerError
from mu2net.nn.roots import backbone_from_config
from mu2net.search.images import load_recorded_task, open_activations
from mu2net.store.store import Store
from mu2net.train.batches import Key
from mu2net.train.child import ChildJob, TrainedChild
from mu2net.train.events import Event, StopSignal, Warned
from mu2net.train.group import TrainConfig, TrainGroup
from mu2net.train.prefix import Prefixes
from mu2net.train.session import train_group


@dataclass(frozen=True)
class Order:
    """What a worker is asked to train: a group without what the worker reads itself.

    Args:
        jobs: The children.
        config: Their budget.
        seed_key: Key of the group's draws.
    """

    jobs: tuple[ChildJob, ...]
    config: TrainConfig
    seed_key: Key


@dataclass(frozen=True)
class Stop:
    """A change of the stop signal."""

    signal: StopSignal


@dataclass(frozen=True)
class Ready:
    """A worker has started, and waits for orders.

    Args:
        pid: Its process id.
    """

    pid: int


@dataclass(frozen=True)
class Done:
    """An order is done: its children were sent, one message each."""


@dataclass(frozen=True)
class Failure:
    """An error that ended an order, or the start of a worker.

    Args:
        error: The error that the other process raises.
    """

    error: Mu2NetError

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return the failure that an error causes.

        An error that mu2net did not raise on purpose becomes a ``WorkerError``. Its traceback ends with this process,
        so it travels as a note.

        Args:
            error: What was raised in this process.
        """
        if isinstance(error, Mu2NetError):
            return cls(error)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        failed = WorkerError(
            f"{what}; worker process {os.getpid()} could not go on, what was recorded before is safe. If memory ran "
            "out, use fewer workers or a smaller batch size; else report it, with the traceback that MU2NET_DEBUG=1 "
            "shows"
        )
        failed.add_note("In the worker process:\n" + "".join(traceback.format_exception(error)).rstrip())
        return cls(failed)


class _Forwarding(logging.Handler):
    """Sends warnings to the process that started this one, which shows each of them once."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record's text."""
        self._connection.send(Warned(record.getMessage()))


@contextmanager
def _forwarding(connection: Connection) -> Iterator[None]:
    """Send what mu2net logs in the block to the other process, instead of printing it."""
    logger, handler = logging.getLogger("mu2net"), _Forwarding(connection)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Worker:
    """Trains the orders that come in over a connection."""

    def __init__(self, connection: Connection, directory: str, task: str, cache_limit: int | None) -> None:
        self._connection = connection
        self._store = Store.open(directory)
        self._backbone = backbone_from_config(self._store.config.backbone)
        self._data = load_recorded_task(self._store, task)
        self._cache = open_activations(self._store, cache_limit)
        self._signal: StopSignal = "no"

    def serve(self) -> None:
        """Train orders until the connection closes."""
        while True:
            message = self._connection.recv()
            if isinstance(message, Order):
                self._train(message)
            elif not isinstance(message, Stop):
                raise TypeError(f"a worker trains orders; it was sent {message!r}")

    def _train(self, order: Order) -> None:
        self._signal = "no"
        try:
            group = TrainGroup(self._data, order.jobs, order.config, order.seed_key, self._backbone)
            trained = train_group(
                group,
                self._store,
                prefixes=Prefixes(self._cache, order.config.rounding),
                observer=self._tell,
                should_stop=self._should_stop,
            )
            for child in trained:
                self._connection.send(pack(child))
            answer: Done | Failure = Done()
        except (
            Exception
        ) as error:  # where the other end is closed, the failure cannot be sent either, and ``main`` ends
            answer = Failure.of(error)
        self._connection.send(answer)

    def _tell(self, event: Event) -> None:
        self._connection.send(event)

    def _should_stop(self) -> StopSignal:
        while self._connection.poll():
            message = self._connection.recv()
            if isinstance(message, Stop):
                self._signal = message.signal
        return self._signal


def pack(child: TrainedChild) -> TrainedChild:
    """Return a trained child whose tensors are NumPy arrays, which cross process borders as plain bytes."""
    arrays: Any = [
        {slot: {name: tensor.numpy() for name, tensor in tensors.items()} for slot, tensors in part.items()}
        for part in (child.tensors, child.momentum)
    ]
    return TrainedChild(child.id, arrays[0], arrays[1], child.metrics)


def main(descriptor: int) -> None:
    """Serve the process at the other end of a pipe until it closes it.

    Args:
        descriptor: File descriptor of this end.
    """
    connection = Connection(descriptor)
    try:
        directory, task, cache_limit = connection.recv()
        with _forwarding(connection):
            try:
                worker = _Worker(connection, directory, task, cache_limit)
            except Exception as error:
                connection.send(Failure.of(error))
                return
            connection.send(Ready(os.getpid()))
            worker.serve()
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return
