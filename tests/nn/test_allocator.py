"""Whether the memory of a batch is kept is told by the pages that the next batches get anew."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mu2net.nn import allocator

BATCHES = """
import resource, sys, threading
import numpy as np
from mu2net.nn.allocator import keep_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def run():
    before = pages()
    for _ in range(50):
        activations = [np.ones(mebibytes * 2**18, np.float32) for mebibytes in (2, 8, 6, 10, 8, 3)]
        del activations
    print(pages() - before)

print(keep_freed_memory() if sys.argv[1] == "keep" else None)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""

needs_glibc = pytest.mark.skipif(not allocator._is_glibc(), reason="the C library is not glibc")


def batches(mode, **environment):
    """Run some batches in another process; return what ``keep_freed_memory`` said, and how many pages were new."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", BATCHES, mode]
    output = subprocess.run(command, env={**plain, **environment}, capture_output=True, text=True, check=True).stdout
    said, pages = output.split()
    return said, int(pages)


@needs_glibc
def test_memory_is_kept_between_batches():
    said, kept = batches("keep")
    _, fresh = batches("leave")
    assert said == "True"
    assert kept < fresh / 5


@needs_glibc
@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_what_the_user_decides_stays(name):
    said, pages = batches("keep", **{name: str(2**20)})
    _, same = batches("leave", **{name: str(2**20)})
    assert said == "False"
    assert 0.8 * same < pages < 1.25 * same


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.os, "confstr", lambda _: None)
    assert not allocator.keep_freed_memory()
