import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from mu2net.serve import memory
from mu2net.serve.memory import give_back

HAS_TRIM = hasattr(ctypes.CDLL(None), "malloc_trim")


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not HAS_TRIM, reason="this C library does not trim")
def test_what_was_freed_below_something_in_use_goes_back():
    pieces = [np.ones(60_000, np.uint8) for _ in range(1000)]
    kept = pieces[-1]
    del pieces
    before = resident()
    assert give_back()
    assert before - resident() > 40_000_000
    assert kept.all()


def test_without_the_call_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert not give_back()
