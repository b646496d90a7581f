from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime

import pytest

from mu2net.errors import LockedError, StoreError
from mu2net.store.lock import LOCK_NAME, evolving


def start(code: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


HOLD = """
    import pathlib, sys, time
    from mu2net.store.lock import evolving
    with evolving(pathlib.Path(sys.argv[1])):
        print("locked", flush=True)
        time.sleep(60)
"""

HOLD_WITH_WORKER = """
    import os, pathlib, sys, time
    from mu2net.store.lock import evolving
    with evolving(pathlib.Path(sys.argv[1])):
        worker = os.fork()
        if worker == 0:
            os.close(1), os.close(2)
            time.sleep(60)
            os._exit(0)
        print(worker, flush=True)
        time.sleep(60)
"""


def test_the_second_process_learns_who_the_first_is(tmp_path):
    holder = start(HOLD, tmp_path)
    try:
        assert holder.stdout.readline() == "locked\n", holder.communicate()[1]
        with pytest.raises(LockedError) as caught, evolving(tmp_path):
            pass
        message = str(caught.value)
        assert str(tmp_path) in message
        assert f"process {holder.pid} on {socket.gethostname()} since {datetime.now(UTC).year}" in message
    finally:
        holder.kill()
        holder.communicate()
    with evolving(tmp_path):
        content = json.loads((tmp_path / LOCK_NAME).read_bytes())
        assert content["pid"] == os.getpid()


def test_a_killed_process_releases_even_while_its_forked_worker_lives(tmp_path):
    holder = start(HOLD_WITH_WORKER, tmp_path)
    worker = int(holder.stdout.readline() or holder.communicate()[1])
    try:
        with pytest.raises(LockedError), evolving(tmp_path):
            pass
        holder.kill()
        holder.communicate()
        os.kill(worker, 0)
        with evolving(tmp_path):
            pass
    finally:
        os.kill(worker, 9)


def test_one_process_cannot_hold_it_twice_and_releases_on_an_error(tmp_path):
    message = f"process {os.getpid()} on"
    with evolving(tmp_path), pytest.raises(LockedError, match=message), evolving(tmp_path):
        pass
    with pytest.raises(KeyboardInterrupt), evolving(tmp_path):
        raise KeyboardInterrupt
    with evolving(tmp_path):
        pass
    assert (tmp_path / LOCK_NAME).read_bytes() == b""


def test_a_holder_without_a_name_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr("mu2net.store.lock._NAMING_SECONDS", 0.1)
    with evolving(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(b"")
        begin = time.monotonic()
        with pytest.raises(LockedError, match="has not written its name"), evolving(tmp_path):
            pass
        assert time.monotonic() - begin < 10


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"evolve\.lock cannot be written"), evolving(tmp_path / "nowhere"):
        pass


def test_a_store_gives_its_lock(store):
    with store.evolving(), pytest.raises(LockedError), store.evolving():
        pass
