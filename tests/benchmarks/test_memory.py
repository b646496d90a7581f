from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.memory import peak_of_plain_loop, tree_pss

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


def test_the_plain_loop_trains_what_was_exported(place, tmp_path):
    assert peak_of_plain_loop(place, 0, tmp_path / "plain") > 64 * 2**20
    assert len(list((tmp_path / "plain").glob("*.safetensors"))) == 8
    with pytest.raises(FileExistsError):
        peak_of_plain_loop(place, 0, tmp_path / "plain")


def test_a_side_that_fails_is_an_error(place, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="plain_memory ended with exit code 1"):
        memory._peak("benchmarks.plain_memory", str(tmp_path / "empty"))
