"""Workers that are forked from one process: what they share, and how they end."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from mu2net.search.processes import end_workers
from tests.processes import is_running, parent_of, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="asks the kernel about processes")


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


def test_all_end_when_the_other_ends_are_closed(start):
    workers = start(2)
    for worker in workers:
        worker.connection.close()
    assert workers[0].exit_code() == 0
    assert not any(is_running(worker.pid) for worker in workers)


def test_one_ends_while_another_works_on(start):
    first, second = start(2)
    first.connection.close()
    wait_until(lambda: not is_running(first.pid))
    assert is_running(second.pid)
    assert second.started.poll() is None


def test_workers_end_on_request_whatever_they_wait_for(start):
    workers = start(2)
    workers[0].started.terminate()
    assert workers[0].exit_code() == -signal.SIGTERM
    assert not any(is_running(worker.pid) for worker in workers)


def test_the_exit_code_is_that_of_the_worker_that_was_lost(start):
    first, second = start(2)
    os.kill(second.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(second.pid))
    end_workers([first, second])
    assert first.exit_code() == -signal.SIGKILL


def test_an_error_that_a_worker_cannot_answer_ends_it_with_a_traceback(start, capfd):
    first, second = start(2)
    first.connection.send("no order")
    wait_until(lambda: not is_running(first.pid))
    assert is_running(second.pid)
    second.connection.close()
    assert second.exit_code() == 1
    assert "TypeError: a worker trains orders; it was sent 'no order'" in capfd.readouterr().err


def test_workers_end_when_the_process_that_forks_them_was_killed_and_nobody_listens(start):
    workers = start(2)
    os.kill(workers[0].started.pid, signal.SIGKILL)
    assert workers[0].exit_code() == -signal.SIGKILL
    assert all(is_running(worker.pid) for worker in workers)
    for worker in workers:
        worker.connection.close()
    wait_until(lambda: not any(is_running(worker.pid) for worker in workers))
