from __future__ import annotations

import os
import signal
import threading

import pytest

from mu2net.search.events import StopRequested
from mu2net.search.interrupt import InterruptHandler


def test_the_first_press_asks_and_the_second_insists():
    told = []
    with InterruptHandler(observer=told.append) as handler:
        assert handler.request == "no"
        os.kill(os.getpid(), signal.SIGINT)
        assert handler.request == "interval"
        os.kill(os.getpid(), signal.SIGTERM)
        assert handler.request == "now"
    assert told == [StopRequested("interval"), StopRequested("now")]


def test_afterwards_everything_is_as_before():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with InterruptHandler():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_inactive_it_changes_nothing():
    with pytest.raises(KeyboardInterrupt), InterruptHandler(is_active=False):
        os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_may_use_it():
    requests = []

    def run():
        with InterruptHandler() as handler:
            requests.append(handler.request)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert requests == ["no"]
