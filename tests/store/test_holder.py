from __future__ import annotations

import os
import socket
import subprocess
import sys

from mu2net.store.files import Files
from mu2net.store.holder import Holder


def test_this_process_is_there():
    here = Holder.here(Files())
    assert not here.has_ended(Files())
    assert Holder.from_json(here.to_json()) == here
    assert str(here) == f"process {os.getpid()} on {socket.gethostname()} since {here.since}"


def test_a_later_process_of_the_same_id_is_another_one():
    here = Holder.here(Files())
    assert Holder(here.pid, here.host, (here.started or 0) + 1, "").has_ended(Files())


def test_a_process_that_ended_is_not_there():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    stat = Holder(child.pid, socket.gethostname(), None, "")
    child.wait()
    assert stat.has_ended(Files())


def test_of_another_host_nobody_can_tell():
    assert not Holder(1, "elsewhere", 1, "").has_ended(Files())


def test_without_a_start_the_id_must_do():
    assert not Holder(os.getpid(), socket.gethostname(), None, "").has_ended(Files())
