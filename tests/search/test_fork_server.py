"""Workers that are forked from one process: how they start, what they share, and how they end."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from mu2net.search import processes
from mu2net.search.processes import end_workers, start_workers
from mu2net.search.worker import Ready

WAIT = 60

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks the kernel about processes")


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
            assert worker.connection.poll(WAIT)
            ready = worker.connection.recv()
            assert isinstance(ready, Ready)
            worker.pid = ready.pid
        return workers

    yield begin
    for workers in started:
        end_workers(workers)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def anonymous(pid, name):
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024


def test_several_workers_are_forked_and_share_what_they_import(start):
    workers = start(2)
    (server,) = {worker.started.pid for worker in workers}
    assert [parent_of(worker.pid) for worker in workers] == [server, server]
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1
    for worker in workers:
        own, shared = (anonymous(worker.pid, name) for name in ("Private_Dirty", "Shared_Dirty"))
        assert own < shared
        assert shared > 80 * 2**20


def test_a_single_worker_needs_no_other_process(start):
    (worker,) = start(1)
    assert worker.pid == worker.started.pid


def test_workers_are_not_forked_where_that_is_not_safe(start, monkeypatch):
    monkeypatch.setattr(processes, "_FORKS", False)
    workers = start(2)
    assert [worker.pid for worker in workers] == [worker.started.pid for worker in workers]
    assert len({worker.pid for worker in workers}) == 2


def test_all_end_when_the_other_ends_are_closed(start):
    workers = start(2)
    for worker in workers:
        worker.connection.close()
    assert workers[0].exit_code() == 0
    assert all(is_gone(worker.pid) for worker in workers)


def test_one_ends_while_another_works_on(start):
    first, second = start(2)
    first.connection.close()
    wait_until(lambda: is_gone(first.pid))
    assert not is_gone(second.pid)
    assert second.started.poll() is None


def test_workers_end_on_request_whatever_they_wait_for(start):
    workers = start(2)
    workers[0].started.terminate()
    assert workers[0].exit_code() == -signal.SIGTERM
    assert all(is_gone(worker.pid) for worker in workers)


def test_the_exit_code_is_that_of_the_worker_that_was_lost(start):
    first, second = start(2)
    os.kill(second.pid, signal.SIGKILL)
    wait_until(lambda: is_gone(second.pid))
    end_workers([first, second])
    assert first.exit_code() == -signal.SIGKILL


def test_an_error_that_a_worker_cannot_answer_ends_it_with_a_traceback(start, capfd):
    first, second = start(2)
    first.connection.send("no order")
    wait_until(lambda: is_gone(first.pid))
    assert not is_gone(second.pid)
    second.connection.close()
    assert second.exit_code() == 1
    assert "TypeError: a worker trains orders; it was sent 'no order'" in capfd.readouterr().err


def test_workers_end_when_the_process_that_forks_them_was_killed_and_nobody_listens(start):
    workers = start(2)
    os.kill(workers[0].started.pid, signal.SIGKILL)
    assert workers[0].exit_code() == -signal.SIGKILL
    assert not any(is_gone(worker.pid) for worker in workers)
    for worker in workers:
        worker.connection.close()
    wait_until(lambda: all(is_gone(worker.pid) for worker in workers))
