"""Which processes run workers, and how they are ended."""

from __future__ import annotations

import os
import signal

from mu2net.search import processes
from mu2net.search.processes import end_workers
from tests.processes import is_running


def test_a_single_worker_needs_no_other_process(start):
    (worker,) = start(1)
    assert worker.pid == worker.started.pid


def test_workers_are_not_forked_where_that_is_not_safe(start, monkeypatch):
    monkeypatch.setattr(processes, "_FORKS", False)
    workers = start(2)
    assert [worker.pid for worker in workers] == [worker.started.pid for worker in workers]
    assert len({worker.pid for worker in workers}) == 2


def test_workers_live_in_a_session_of_their_own(start):
    """So a Ctrl-C of the terminal reaches only the process that started them."""
    for count in (1, 2):
        assert os.getsid(0) not in {os.getsid(worker.pid) for worker in start(count)}


def test_ending_waits_until_all_have_ended(start):
    workers = start(2)
    assert all(is_running(worker.pid) for worker in workers)
    end_workers(workers)
    # Those that wait for an order may see the closed connection before the signal.
    assert {worker.started.returncode for worker in workers} <= {0, -signal.SIGTERM}
    assert not any(is_running(worker.pid) for worker in workers)
    assert all(worker.connection.closed for worker in workers)


def test_what_a_user_sets_goes_before_what_workers_are_started_with(monkeypatch):
    seen = {}
    monkeypatch.setattr(processes.subprocess, "Popen", lambda command, **options: seen.update(options))
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    processes._start([3])
    assert seen["env"]["GLIBC_TUNABLES"] == "glibc.malloc.check=1"
    assert seen["env"]["OMP_NUM_THREADS"] == "1"
    assert seen["pass_fds"] == [3]
