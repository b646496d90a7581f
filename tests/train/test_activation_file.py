import errno
import gc
import logging
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mu2net.core.component import PrefixKey
from mu2net.train import activation_file
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.activation_entry import HEADER_BYTES, Layout
from mu2net.train.activation_file import read_at, runs, write_at

KEY = PrefixKey("ab" * 32)
ROWS = 50
LAYOUT = Layout((3, 4), torch.float32)


def truth(rows, layout=LAYOUT):
    """The activations of rows: a function of the number, as in life."""
    parts = [torch.randn(layout.shape, generator=torch.Generator().manual_seed(int(row))) for row in rows]
    stacked = torch.stack(parts).to(layout.dtype)
    return stacked.contiguous(memory_format=torch.channels_last) if layout.is_channels_last else stacked


def same(first, second):
    return first.stride() == second.stride() and torch.equal(first, second)


def some(*rows):
    return np.array(rows, np.int64)


@pytest.fixture(params=[0, 2**20], ids=["disk", "memory"])
def any_file(tmp_path, request):
    """An entry that is read from the disk each time, or that keeps its rows in memory."""
    return ActivationCache(tmp_path, 2**20, request.param).open(KEY, ROWS, LAYOUT)


@pytest.fixture
def file(tmp_path):
    return ActivationCache(tmp_path, 2**20, 0).open(KEY, ROWS, LAYOUT)


@pytest.fixture
def filled(file):
    file.write(np.arange(ROWS), truth(range(ROWS)))
    return file


def reopened(file, memory_limit=0):
    return ActivationCache(file.path.parent, 2**20, memory_limit).find(KEY)


def is_right(file, rows):
    """Read, compute and keep what is missing, read again: what training does; returns whether the first read served."""
    found = file.read(rows)
    if found is None:
        file.write(rows, truth(rows))
    else:
        assert same(found, truth(rows))
    assert same(file.read(rows), truth(rows))
    return found is not None


def flip(file, row, bit=0):
    offset = file.entry.rows_offset + row * file.entry.layout.row_bytes + 5
    content = bytearray(file.path.read_bytes())
    content[offset] ^= 1 << bit
    with file.path.open("r+b") as opened:  # the same inode, as a disk would do it
        opened.write(content)


layouts = st.sampled_from(
    [
        Layout((), torch.float32),
        Layout((5,), torch.bfloat16),
        Layout((3, 4), torch.float32),
        Layout((2, 3, 4), torch.float32),
        Layout((2, 3, 4), torch.bfloat16, is_channels_last=True),
        Layout((3, 2, 2), torch.float32, is_channels_last=True),
    ]
)
batches = st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=8), min_size=1, max_size=8)


@settings(deadline=None)
@given(layouts, batches, st.sampled_from([0, 2**20]))
def test_what_was_written_is_read(layout, batches, memory_limit):
    with tempfile.TemporaryDirectory() as folder:
        file = ActivationCache(Path(folder), 2**20, memory_limit).open(KEY, 12, layout)
        written: set[int] = set()
        for batch in batches:
            rows = np.array(batch)
            assert file.known(rows) == sum(row in written for row in batch)
            assert (file.read(rows) is not None) == (set(batch) <= written)
            file.write(rows, truth(rows, layout))
            written |= set(batch)
            everything = np.array(sorted(written))
            assert same(file.read(rows), truth(rows, layout))
            assert same(file.read(everything), truth(everything, layout))
            assert same(reopened(file).read(everything), truth(everything, layout))


def test_nothing_is_there_at_first(any_file):
    assert any_file.read(some(0)) is None
    assert any_file.known(np.arange(ROWS)) == 0
    assert same(any_file.read(some()), torch.zeros(0, 3, 4))


def test_one_missing_row_is_a_missing_batch(any_file):
    any_file.write(some(3, 1), truth([3, 1]))
    assert any_file.read(some(3, 2, 1)) is None
    assert any_file.known(some(3, 2, 1, 3)) == 3


def test_bfloat16_keeps_every_bit(tmp_path):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16).view(64, 1024)
    file = ActivationCache(tmp_path, 2**20, 0).open(KEY, 64, Layout.of(every))
    file.write(np.arange(64), every)
    assert torch.equal(file.read(np.arange(64)).view(torch.int16), every.view(torch.int16))


def test_what_is_read_belongs_to_the_caller(any_file):
    any_file.write(some(1, 2), truth([1, 2]))
    any_file.read(some(1, 2)).zero_()
    assert same(any_file.read(some(1, 2)), truth([1, 2]))


def test_what_was_written_may_be_changed_after(any_file):
    activations = truth([1, 2])
    any_file.write(some(1, 2), activations)
    activations.zero_()
    assert same(any_file.read(some(1, 2)), truth([1, 2]))


def test_rows_that_are_there_are_not_written_again(filled, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda *_: pytest.fail("wrote"))
    filled.write(some(4, 5), truth([4, 5]))


def test_neighbours_are_read_at_once(filled, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "preadv", lambda *args, real=os.preadv: calls.append(args) or real(*args))
    assert same(filled.read(some(5, 6, 7, 20, 21, 6)), truth([5, 6, 7, 20, 21, 6]))
    assert len(calls) == 3


def test_memory_serves_without_the_disk(tmp_path, monkeypatch):
    file = ActivationCache(tmp_path, 2**20, 2**20).open(KEY, ROWS, LAYOUT)
    file.write(some(1), truth([1]))
    ActivationCache(tmp_path, 2**20, 0).find(KEY).write(some(2, 3), truth([2, 3]))
    assert same(file.read(some(3, 1, 2)), truth([3, 1, 2]))  # 2 and 3 come from the disk, once
    monkeypatch.setattr(os, "preadv", lambda *_: pytest.fail("read"))
    assert same(file.read(some(1, 2, 3)), truth([1, 2, 3]))


def test_dropped_memory_is_read_from_the_disk(tmp_path):
    file = ActivationCache(tmp_path, 2**20, 2**20).open(KEY, ROWS, LAYOUT)
    file.write(some(1), truth([1]))
    file.memory.drop()
    assert same(file.read(some(1)), truth([1]))
    assert file.known(some(1, 2)) == 1


def test_wrong_rows_and_activations_are_errors(any_file):
    for wrong in (some(-1), some(0, ROWS)):
        for ask in (any_file.read, any_file.known, lambda rows: any_file.write(rows, truth([0] * len(rows)))):
            with pytest.raises(IndexError, match=f"of {ROWS} in"):
                ask(wrong)
    with pytest.raises(ValueError, match="1 activations for 2 rows"):
        any_file.write(some(1, 2), truth([1]))
    with pytest.raises(ValueError, match="bfloat16"):
        any_file.write(some(1), truth([1]).bfloat16())
    assert any_file.known(some(1, 2)) == 0


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_found(filled, bit, caplog):
    flip(filled, 7, bit)
    assert not is_right(filled, some(6, 7, 8))
    assert is_right(filled, np.arange(ROWS))
    assert same(reopened(filled).read(np.arange(ROWS)), truth(range(ROWS)))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(filled.path) in caplog.text
    assert "row 7 is damaged" in caplog.text


def test_damage_is_reported_once_per_file(filled, caplog):
    for row in (3, 9, 30):
        flip(filled, row)
        assert not is_right(filled, some(row, row - 1))
    assert len(caplog.records) == 1


def test_every_damaged_row_of_a_batch_is_found_at_once(filled):
    flip(filled, 3)
    flip(filled, 9)
    assert filled.known(np.arange(ROWS)) == ROWS
    assert filled.read(np.arange(ROWS)) is None
    assert filled.known(np.arange(ROWS)) == ROWS - 2
    assert reopened(filled).known(np.arange(ROWS)) == ROWS - 2


def test_a_damaged_checksum_is_found(filled, caplog):
    with filled.path.open("r+b") as opened:
        opened.seek(HEADER_BYTES + 8 * 7)
        opened.write(b"\xff")
    fresh = reopened(filled)
    assert not is_right(fresh, some(7, 8))
    assert len(caplog.records) == 1


def test_swapped_rows_are_found(filled):
    content = bytearray(filled.path.read_bytes())
    size, start = filled.entry.layout.row_bytes, filled.entry.rows_offset
    content[start : start + 2 * size] = content[start + size : start + 2 * size] + content[start : start + size]
    content[HEADER_BYTES : HEADER_BYTES + 16] = (
        content[HEADER_BYTES + 8 : HEADER_BYTES + 16] + content[HEADER_BYTES : HEADER_BYTES + 8]
    )
    filled.path.write_bytes(content)
    assert reopened(filled).read(some(0)) is None
    assert not is_right(filled, some(0, 1, 2))


@pytest.mark.parametrize("keep", ["half a row", "half the table", "half the header", "nothing"])
def test_truncation_is_found(filled, keep, caplog):
    offset = filled.entry.rows_offset
    sizes = {"half a row": offset + 10 * LAYOUT.row_bytes + 5, "half the table": HEADER_BYTES + 44}
    os.truncate(filled.path, {**sizes, "half the header": HEADER_BYTES // 2, "nothing": 0}[keep])
    for start in range(0, ROWS, 10):
        is_right(filled, np.arange(start, start + 10))
    assert is_right(filled, np.arange(ROWS))
    assert len(caplog.records) == 1


def test_bytes_that_were_not_read_do_not_count(filled, monkeypatch):
    """New memory may hold by chance what an earlier read left there."""
    content = filled.entry.layout.empty(1)
    content.numpy()[:] = LAYOUT.to_bytes(truth([49]))
    os.truncate(filled.path, filled.entry.size - 1)
    monkeypatch.setattr(Layout, "empty", lambda *_: content)
    assert filled.read(some(49)) is None


def test_garbage_in_its_place_is_found(filled, caplog):
    content = np.random.default_rng(0).integers(0, 256, filled.entry.size, np.uint8)
    with filled.path.open("r+b") as opened:
        opened.write(content.tobytes())
    assert not is_right(filled, some(4, 5))
    assert not is_right(filled, some(9, 20))
    assert is_right(filled, some(4, 5, 9, 20))
    assert len(caplog.records) == 1


def test_deletion_is_harmless(any_file, caplog):
    any_file.write(some(1), truth([1]))
    any_file.path.unlink()
    assert not any_file.is_in_place()
    assert is_right(any_file, some(1))
    assert not is_right(any_file, some(1, 2))
    assert not caplog.records


def test_rows_in_memory_outlive_damage(tmp_path, caplog):
    file = ActivationCache(tmp_path, 2**20, 2**20).open(KEY, ROWS, LAYOUT)
    file.write(some(1, 2), truth([1, 2]))
    os.truncate(file.path, 0)
    assert same(file.read(some(2, 1)), truth([2, 1]))
    assert not caplog.records


def test_a_full_disk_ends_writing_only(filled, monkeypatch, caplog):
    flip(filled, 7)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    for _ in range(2):
        assert filled.read(some(7, 8)) is None
        filled.write(some(7, 8), truth([7, 8]))
    assert same(filled.read(some(8, 9)), truth([8, 9]))
    assert [("No space left" in record.message) for record in caplog.records] == [False, True]
    monkeypatch.undo()
    fresh = reopened(filled)
    assert fresh.read(some(7)) is None
    assert is_right(fresh, some(8, 9))


def test_a_full_disk_leaves_what_is_in_memory(tmp_path, monkeypatch, caplog):
    file = ActivationCache(tmp_path, 2**20, 2**20).open(KEY, ROWS, LAYOUT)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    for row in range(3):
        assert not is_right(file, some(row))
        monkeypatch.setattr(os, "pwrite", lambda *_: pytest.fail("tried again"))
    assert file.known(some(0, 1, 2, 3)) == 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_write_that_fails_half_way_leaves_no_wrong_row(file, done, monkeypatch):
    left = [done]

    def fail_later(*args, real=os.pwrite):
        if left[0] == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left[0] -= 1
        return real(*args)

    monkeypatch.setattr(os, "pwrite", fail_later)
    file.write(some(1, 2, 9), truth([1, 2, 9]))  # two runs of rows, then two of checksums
    monkeypatch.undo()
    assert file.known(some(1, 2, 9)) == (2 if done == 3 else 0)
    fresh = reopened(file)
    is_right(fresh, some(1, 2, 9))


def test_rows_that_cannot_be_read_are_written_again(filled, monkeypatch, caplog):
    def fail(descriptor, buffers, offset, real=os.preadv):
        if offset == filled.entry.rows_offset + 7 * LAYOUT.row_bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", fail)
    assert filled.read(some(9, 7)) is None
    assert filled.known(some(9, 7)) == 1
    monkeypatch.undo()
    assert not is_right(filled, some(9, 7))
    assert [("Input/output error" in record.message) for record in caplog.records] == [True]


def test_a_table_that_cannot_be_read_is_empty(filled, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", fail)
    assert reopened(filled).known(some(1)) == 0
    assert len(caplog.records) == 1


def test_short_reads_and_writes_are_completed(file, monkeypatch):
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at, real=os.preadv: real(fd, [buffers[0][:7]], at))
    monkeypatch.setattr(os, "pwrite", lambda fd, content, at, real=os.pwrite: real(fd, content[:7], at))
    assert not is_right(file, np.arange(ROWS))


def test_what_another_process_writes_is_seen(file):
    other = reopened(file)
    assert file.known(some(1)) == 0
    other.write(some(1), truth([1]))
    assert file.known(some(1)) == 1
    assert same(file.read(some(1)), truth([1]))


def test_a_row_without_its_checksum_is_missing(file, monkeypatch):
    """As a process leaves it that is killed between the two."""
    monkeypatch.setattr(activation_file.ActivationFile, "_write_table", lambda *_: None)
    file.write(some(1), truth([1]))
    monkeypatch.undo()
    assert not is_right(reopened(file), some(1))


def test_a_killed_writer_leaves_no_wrong_row(file):
    program = f"""
import os, signal
import numpy as np, torch
from pathlib import Path
from mu2net.train.activation_cache import ActivationCache
file = ActivationCache(Path({str(file.path.parent)!r}), 2**20, 0).find({KEY!r})
left, real = [3], os.pwrite
def kill(descriptor, content, offset):
    if left[0] == 0:
        real(descriptor, content[: len(content) // 2], offset)
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return real(descriptor, content, offset)
os.pwrite = kill
for start in range(0, {ROWS}, 5):
    rows = np.arange(start, start + 5)
    parts = [torch.randn({LAYOUT.shape}, generator=torch.Generator().manual_seed(int(row))) for row in rows]
    file.write(rows, torch.stack(parts))
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=100, check=False).returncode == -9
    assert 0 < file.known(np.arange(ROWS)) < ROWS
    for start in range(0, ROWS, 5):
        is_right(file, np.arange(start, start + 5))


def test_two_processes_fill_one_entry(tmp_path):
    program = f"""
import sys
import numpy as np, torch
from pathlib import Path
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.activation_entry import Layout
def truth(rows):
    return torch.stack([torch.randn(3000, generator=torch.Generator().manual_seed(int(row))) for row in rows])
cache = ActivationCache(Path({str(tmp_path / "new")!r}), 2**26, int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
file = cache.open({KEY!r}, 400, Layout((3000,), torch.float32))
order = np.random.default_rng(int(sys.argv[1]))
for batch in [*order.permutation(400).reshape(-1, 10), *order.permutation(400).reshape(-1, 10)]:
    found = file.read(batch)
    if found is None:
        file.write(batch, truth(batch))
        found = file.read(batch)
    assert torch.equal(found, truth(batch))
assert file.known(np.arange(400)) == 400
"""
    pipe = subprocess.PIPE
    commands = [[sys.executable, "-c", program, seed, memory] for seed, memory in (("1", "0"), ("2", str(2**25)))]
    both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for command in commands]
    for process in both:
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert [output[1] for output in outputs] == ["", ""]  # no warning either
    file = ActivationCache(tmp_path / "new", 2**26, 0).find(KEY)
    expected = truth(range(400), Layout((3000,), torch.float32))
    assert same(file.read(np.arange(400)), expected)


def test_the_descriptor_is_closed(file):
    descriptor = file._open()
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
    assert not file.is_in_place()
    with pytest.raises(AssertionError, match="is closed"):
        file.read(some(1))


def test_an_object_that_is_forgotten_closes_its_descriptor(tmp_path):
    file = ActivationCache(tmp_path, 2**20, 0).open(KEY, ROWS, LAYOUT)
    descriptor = file._open()
    del file
    gc.collect()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_use_is_noted_now_and_then(filled, monkeypatch):
    os.utime(filled.path, (1, 1))
    filled.read(some(1))
    assert filled.path.stat().st_mtime == 1
    monkeypatch.setattr(activation_file, "_TOUCH_SECONDS", -1)
    filled.read(some(1))
    assert filled.path.stat().st_mtime > 1


@given(st.lists(st.integers(0, 20)))
def test_runs_cover_all_rows_in_order(rows):
    found = [list(range(rows[start], rows[start] + stop - start)) for start, stop in runs(np.array(rows, np.int64))]
    assert [row for run in found for row in run] == rows
    assert all(first[-1] + 1 != second[0] for first, second in pairwise(found))


def test_reading_stops_at_the_end_of_a_file(tmp_path):
    path = tmp_path / "x"
    with path.open("w+b") as opened:
        write_at(opened.fileno(), memoryview(b"abcdef"), 2)
        out = bytearray(10)
        assert read_at(opened.fileno(), memoryview(out), 4) == 4
    assert path.read_bytes() == b"\0\0abcdef"
    assert out[:4] == b"cdef"
