from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from mu2net.core.path import Metrics
from mu2net.errors import LeaseLostError, LockedError, StoreError
from mu2net.store.files import Files
from mu2net.store.lease import RENEWALS, Leases, lease_name
from mu2net.store.schema import LeaseRow
from mu2net.store.store import Store

TERM = 2.0
"""Seconds of a lease that is really renewed: a busy machine may be late by a part of a second."""


class Clock:
    def __init__(self):
        self.time = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.time

    def pass_by(self, seconds):
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def leases(store, clock):
    """Makes the leases of two processes that do not renew by themselves within the test."""
    return lambda: Leases(store.registry, Files(), term=3600.0, now=clock)


def token(store, task="digits"):
    with store.registry.reading() as session:
        return session.get(LeaseRow, lease_name(task)).token


def start(code: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


HOLD = """
    import sys, time
    from mu2net.store.store import Store
    with Store.open(sys.argv[1]).evolving("digits"):
        print("held", flush=True)
        time.sleep(60)
"""


def test_the_second_process_learns_who_the_first_is_and_other_tasks_are_free(store, make_task):
    store.add_task(make_task("letters"))
    holder = start(HOLD, store.directory)
    try:
        assert holder.stdout.readline() == "held\n", holder.communicate()[1]
        with pytest.raises(LockedError) as caught, store.evolving("digits"):
            pass
        message = str(caught.value)
        assert str(store.directory) in message
        assert "'digits'" in message
        assert f"process {holder.pid} on {socket.gethostname()} since {datetime.now(UTC).year}" in message
        with pytest.raises(LockedError, match=f"process {holder.pid}"):
            store.start_cycle("digits", "mu2net", 1, {})
        with store.evolving("letters"):
            store.start_cycle("letters", "mu2net", 1, {})
    finally:
        holder.kill()
        holder.communicate()
    before = token(store)
    with store.evolving("digits") as lease:
        assert lease.token == before + 1, "a holder that was killed frees its lease at once"


def test_one_store_holds_a_lease_once_and_gives_it_back_on_an_error(store):
    message = f"process {os.getpid()} on"
    with store.evolving("digits"), pytest.raises(LockedError, match=message), store.evolving("digits"):
        pass
    with pytest.raises(KeyboardInterrupt), store.evolving("digits"):
        raise KeyboardInterrupt
    with store.evolving("digits"), pytest.raises(LockedError), Store.open(store.directory).evolving("digits"):
        pass
    assert token(store) == 3


def test_a_lease_is_free_when_its_term_is_over_and_its_holder_may_not_write_any_more(store, leases, clock):
    slow, quick = leases(), leases()
    with slow.writing_for("digits", "here") as first:
        clock.pass_by(3599)
        with pytest.raises(LockedError), quick.writing_for("digits", "here"):
            pass
        clock.pass_by(2)
        with store.registry.writing() as session:
            slow.check(session, "digits")  # nobody else has taken it
        with quick.writing_for("digits", "here") as second:
            assert second.token == first.token + 1
            with store.registry.writing() as session:
                quick.check(session, "digits")
                with pytest.raises(LeaseLostError, match=r"'digits' was taken over .*nothing was written"):
                    slow.check(session, "digits")
            assert not slow.renew(first)
        with store.registry.writing() as session, pytest.raises(LeaseLostError):
            slow.check(session, "digits")


def test_renewing_lengthens_the_term(leases, clock):
    held, other = leases(), leases()
    with held.writing_for("digits", "here") as lease:
        clock.pass_by(3000)
        assert held.renew(lease)
        clock.pass_by(3000)
        with pytest.raises(LockedError), other.writing_for("digits", "here"):
            pass


def test_a_lease_is_renewed_while_it_is_held(store):
    leases, other = (Leases(store.registry, Files(), term=TERM) for _ in range(2))
    with leases.writing_for("digits", "here"):
        end = time.monotonic() + 1.5 * TERM
        while time.monotonic() < end:
            with pytest.raises(LockedError), other.writing_for("digits", "here"):
                pass
            time.sleep(TERM / RENEWALS)


SUSPENDED = """
    import sys
    from mu2net.core.path import Metrics
    from mu2net.errors import LeaseLostError
    from mu2net.store.store import Store
    import mu2net.store.lease as lease
    store = Store.open(sys.argv[1])
    store.leases = lease.Leases(store.registry, store.files, term=1.0)
    import torch
    with store.evolving("digits"):
        cycle = store.running_cycle("digits")
        print("held", flush=True)
        sys.stdin.readline()
        try:
            store.publish(cycle, "digits/0/0/0", Metrics(0.9, 1), {"logits": torch.ones(2)}, {})
        except LeaseLostError as error:
            print("refused", error, flush=True)
"""


def test_a_process_that_was_suspended_and_lost_its_lease_cannot_publish_late(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    store.record_child(cycle, make_child(store.root(), 10))
    command = [sys.executable, "-c", textwrap.dedent(SUSPENDED), str(store.directory)]
    late = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert late.stdout.readline() == "held\n", late.communicate()[1]
        late.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 30
        while True:
            try:
                with store.evolving("digits"):
                    break
            except LockedError:
                assert time.monotonic() < end, "its term is one second"
                time.sleep(0.1)
        late.send_signal(signal.SIGCONT)
        output, errors = late.communicate("go\n", timeout=60)
        assert output.startswith("refused task 'digits' was taken over"), errors
    finally:
        late.kill()
    assert store.live_path("digits") is None
    assert store.running_cycle("digits").number == cycle.number
    store.publish(cycle, "digits/0/0/0", Metrics(0.9, 1), {}, {})


def test_readers_hold_paths_and_leave_nothing_behind(store, leases, clock):
    one, other = leases(), leases()
    with one.reading(["root", "x"]), other.reading(["y"]):
        with store.registry.writing() as session:
            assert one.held_paths(session) == {"root", "x", "y"}
        clock.pass_by(3601)
        with store.registry.writing() as session:
            assert one.held_paths(session) == set()
    with store.registry.reading() as session:
        assert session.query(LeaseRow).count() == 0


def test_a_lease_that_cannot_be_renewed_or_given_back_is_only_warned_of(store, monkeypatch, caplog):
    """Its file system may be there again in a moment; at the latest it is free when its term is over."""
    leases = Leases(store.registry, Files(), term=0.2)
    writing = store.registry.writing
    with leases.writing_for("digits", store.directory):
        monkeypatch.setattr(store.registry, "writing", failing)
        deadline = time.monotonic() + 30
        while "will be tried again" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "the lease task:digits could not be renewed, and will be tried again: no disk" in caplog.text
    assert "could not be given back; it is free when this process ends: no disk" in caplog.text
    monkeypatch.setattr(store.registry, "writing", writing)


def failing():
    raise StoreError("no disk")


def test_a_lease_that_was_taken_over_is_not_let_go_of_twice(store):
    """Another lease of the same name may be held by then."""
    name = lease_name("digits")
    with store.evolving("digits"):
        store.leases._held[name] = "another one"
    assert store.leases._held[name] == "another one"


def test_who_lost_a_lease_renews_it_no_more(store):
    leases = Leases(store.registry, Files(), term=0.2)
    before = threading.active_count()
    with leases.writing_for("digits", store.directory):
        with store.registry.writing() as session:
            row = session.get(LeaseRow, lease_name("digits"))
            row.token, row.expires_at = row.token + 1, datetime.now(UTC) + timedelta(days=1)
        deadline = time.monotonic() + 30
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert threading.active_count() == before
    with store.registry.reading() as session:
        assert session.get(LeaseRow, lease_name("digits")).expires_at > datetime.now(UTC) + timedelta(hours=1)
