"""What a worker answers when something fails; it serves in a thread here."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager
from multiprocessing import Pipe

import pytest

from mu2net.errors import DataError, StoreError, WorkerError
from mu2net.search import worker
from mu2net.search.worker import Failure, Order, Ready, main
from mu2net.train.group import TrainConfig

WAIT = 60
ORDER = Order((), TrainConfig(num_validations=1, examples_per_validation=1, batch_size=1), (0,))
ERRORS = [
    RuntimeError("cannot allocate"),
    OSError(errno.EIO, "Input/output error", "x"),
    MemoryError(),
    EOFError("file ends"),
]


@contextmanager
def serving(store, task="one"):
    """A worker at the other end of a pipe."""
    ours, theirs = Pipe()
    thread = threading.Thread(target=main, args=(os.dup(theirs.fileno()),))
    theirs.close()
    thread.start()
    try:
        ours.send((str(store.directory), task, None))
        yield ours
    finally:
        ours.close()
        thread.join(WAIT)
    assert not thread.is_alive()


def answer(connection):
    assert connection.poll(WAIT), "the worker does not answer"
    return connection.recv()


def fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


def check(failure, error):
    assert isinstance(failure, Failure)
    assert type(failure.error) is WorkerError
    said = str(failure.error)
    assert said.startswith(f"{type(error).__name__}: {error}; " if str(error) else f"{type(error).__name__}; ")
    assert f"worker process {os.getpid()} could not go on" in said
    assert "use fewer workers or a smaller batch size" in said
    (note,) = failure.error.__notes__
    assert "Traceback" in note
    assert "in fail" in note


@pytest.fixture(autouse=True)
def any_order(monkeypatch):
    """Orders of no children are accepted: what trains is a stand-in."""
    monkeypatch.setattr(worker, "TrainGroup", lambda *_: None)


@pytest.mark.parametrize("where", ["TrainGroup", "train_group"])
@pytest.mark.parametrize("error", ERRORS)
def test_whatever_training_raises_is_answered_and_the_worker_goes_on(store, monkeypatch, capfd, error, where):
    monkeypatch.setattr(worker, where, fail_with(error))
    with serving(store) as connection:
        assert answer(connection) == Ready(os.getpid())
        for _ in range(2):
            connection.send(ORDER)
            check(answer(connection), error)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_the_start_raises_is_answered(store, monkeypatch, capfd, error):
    monkeypatch.setattr(worker, "load_recorded_task", fail_with(error))
    with serving(store) as connection:
        check(answer(connection), error)
    assert capfd.readouterr().err == ""


def test_errors_on_purpose_arrive_as_they_are(store, monkeypatch):
    monkeypatch.setattr(worker, "train_group", fail_with(DataError("task 'one' has no images")))
    with serving(store) as connection:
        assert answer(connection) == Ready(os.getpid())
        connection.send(ORDER)
        failure = answer(connection)
    assert (type(failure.error), str(failure.error)) == (DataError, "task 'one' has no images")
    monkeypatch.setattr(worker, "load_recorded_task", fail_with(StoreError("gone")))
    with serving(store) as connection:
        assert type(answer(connection).error) is StoreError


def test_a_worker_whose_other_end_is_closed_ends_without_a_word(store, monkeypatch, capfd):
    started = threading.Event()
    closed = threading.Event()

    def tell_nobody(*_, observer, **__):
        started.set()
        closed.wait(WAIT)
        observer("anything")

    monkeypatch.setattr(worker, "train_group", tell_nobody)
    with serving(store) as connection:
        assert answer(connection) == Ready(os.getpid())
        connection.send(ORDER)
        assert started.wait(WAIT)
        connection.close()
        closed.set()
    assert capfd.readouterr().err == ""
