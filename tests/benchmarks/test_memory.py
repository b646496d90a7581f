from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import tree_pss

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs smaps_rollup in /proc")


def test_memory_counts_the_processes_that_descend():
    code = "import sys; block = bytearray(64 * 2**20); print('ready', flush=True); sys.stdin.read()"
    alone = tree_pss(os.getpid())
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        both = tree_pss(os.getpid())
        child.stdin.close()
    assert alone > 2**20
    assert both - alone > 48 * 2**20


def test_a_process_that_is_gone_takes_no_memory():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert tree_pss(process.pid) == 0
