import errno
import fcntl
import gc
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from mu2net.core.component import PrefixKey
from mu2net.train import activation_cache
from mu2net.train.activation_cache import ActivationCache, default_cache_limit
from mu2net.train.activation_entry import Entry, Layout

LAYOUT = Layout((3, 4), torch.float32)
ROWS = 50
SIZE = Entry(PrefixKey("a"), ROWS, LAYOUT).size


def key(name):
    return PrefixKey(name * 64)


def truth(rows):
    return torch.stack([torch.full((3, 4), float(row)) for row in rows])


def names(folder):
    """The entries that are in a folder, by the first letter of their keys."""
    return sorted(path.name[0] for path in folder.glob("*.activations"))


def fill(file):
    file.write(np.arange(ROWS), truth(range(ROWS)))


def is_filled(file):
    found = file.read(np.arange(ROWS))
    return found is not None and torch.equal(found, truth(range(ROWS)))


def make(folder, *keys):
    """Make filled entries that nobody has open, used one second after another."""
    cache = ActivationCache(folder, 10 * SIZE, 0)
    for number, name in enumerate(keys):
        file = cache.open(key(name), ROWS, LAYOUT)
        fill(file)
        file.close()
        os.utime(file.path, (1000 + number,) * 2)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "activations"


@pytest.fixture
def cache(folder):
    return ActivationCache(folder, 10 * SIZE, 0)


def test_an_entry_is_made_once(cache, folder):
    assert cache.find(key("a")) is None
    assert not folder.exists()
    file = cache.open(key("a"), ROWS, LAYOUT)
    assert file.path.stat().st_size == SIZE == file.entry.size
    assert file.path.stat().st_blocks * 512 < SIZE
    fill(file)
    assert cache.open(key("a"), ROWS, LAYOUT) is file
    assert cache.find(key("a")) is file
    assert is_filled(ActivationCache(folder, 10 * SIZE).find(key("a")))
    assert is_filled(ActivationCache(folder, 10 * SIZE).open(key("a"), ROWS, LAYOUT))
    assert sorted(path.name for path in folder.iterdir()) == [f"{key('a')}.activations", "lock"]


def test_a_forgotten_or_closed_file_is_opened_again(cache):
    fill(cache.open(key("a"), ROWS, LAYOUT))
    gc.collect()
    file = cache.find(key("a"))
    assert is_filled(file)
    file.close()
    assert is_filled(cache.find(key("a")))


def test_keys_do_not_mix(cache):
    fill(cache.open(key("a"), ROWS, LAYOUT))
    assert cache.find(key("b")) is None
    assert cache.open(key("b"), ROWS, LAYOUT).known(np.arange(ROWS)) == 0


def test_memory_outlives_the_object(folder, monkeypatch):
    cache = ActivationCache(folder, 10 * SIZE, 2**20)
    fill(cache.open(key("a"), ROWS, LAYOUT))
    gc.collect()
    file = cache.find(key("a"))
    monkeypatch.setattr(os, "preadv", lambda *_: pytest.fail("read"))
    assert is_filled(file)


def test_memory_is_bounded(folder):
    rows_size = ROWS * LAYOUT.row_bytes
    cache = ActivationCache(folder, 10 * SIZE, 2 * rows_size)
    files = [cache.open(key(name), ROWS, LAYOUT) for name in "abc"]
    for file in files:
        fill(file)
        assert is_filled(file)
    assert [file.memory.is_live for file in files] == [False, True, True]
    assert cache.find(key("a")).memory.is_live
    assert [file.memory.is_live for file in files] == [True, False, True]
    assert all(map(is_filled, files))
    assert cache._memories.size == 2 * rows_size


def test_deleting_the_folder_at_any_time_is_harmless(cache, folder, caplog):
    first = cache.open(key("a"), ROWS, LAYOUT)
    fill(first)
    shutil.rmtree(folder)
    assert is_filled(first)
    assert cache.find(key("a")) is None
    second = cache.open(key("a"), ROWS, LAYOUT)
    assert second is not first
    assert second.read(np.arange(ROWS)) is None
    fill(second)
    assert is_filled(second)
    assert is_filled(first)
    assert not caplog.records


def damage_garbage(path):
    path.write_bytes(np.random.default_rng(0).bytes(SIZE))


def damage_empty(path):
    path.write_bytes(b"")


def damage_truncate(path):
    os.truncate(path, SIZE - 1)


def damage_extend(path):
    os.truncate(path, SIZE + 1)


def damage_header(path):
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)


def damage_other_key(path):
    content = Entry(key("b"), ROWS, LAYOUT).header() + path.read_bytes()[4096:]
    path.write_bytes(content)


def damage_replace(path):
    path.unlink()
    path.write_bytes(b"replaced")


DAMAGES = [
    damage_garbage,
    damage_empty,
    damage_truncate,
    damage_extend,
    damage_header,
    damage_other_key,
    damage_replace,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("finds_first", [True, False])
def test_a_file_that_is_no_entry_is_replaced(cache, folder, damage, finds_first, caplog):
    make(folder, "a")
    damage(folder / f"{key('a')}.activations")
    if finds_first:
        assert cache.find(key("a")) is None
    file = cache.open(key("a"), ROWS, LAYOUT)
    assert file.known(np.arange(ROWS)) == 0
    fill(file)
    assert is_filled(ActivationCache(folder, SIZE).find(key("a")))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "are computed again" in caplog.text
    assert str(file.path) in caplog.text


@pytest.mark.parametrize(
    ("rows", "layout"),
    [(ROWS + 1, LAYOUT), (ROWS, Layout((4, 3), torch.float32)), (ROWS, Layout((3, 4), torch.bfloat16))],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_an_entry_of_another_shape_is_replaced(cache, folder, rows, layout, is_open, caplog):
    old = cache.open(key("a"), ROWS, LAYOUT)
    fill(old)
    if not is_open:
        old = cache = None
        cache = ActivationCache(folder, 10 * SIZE, 0)
    file = cache.open(key("a"), rows, layout)
    assert (file.entry.rows, file.entry.layout) == (rows, layout)
    assert file.known(np.arange(ROWS)) == 0
    assert cache.find(key("a")) is file
    assert old is None or is_filled(old)
    assert len(caplog.records) == 1


def test_a_damaged_file_that_stays_is_reported_once(cache, folder, monkeypatch, caplog):
    make(folder, "a")
    damage_garbage(folder / f"{key('a')}.activations")

    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", fail)
    for _ in range(3):
        assert cache.find(key("a")) is None
    assert len(caplog.records) == 1


def test_an_entry_larger_than_the_limit(folder, caplog):
    make(folder, "a")
    cache = ActivationCache(folder, SIZE - 1, 0)
    for name in "bc":
        assert cache.open(key(name), ROWS, LAYOUT) is None
    assert names(folder) == ["a"]
    (record,) = caplog.records
    for part in ("--cache-limit", str(folder), f"{SIZE / 2**20:.1f} MiB"):
        assert part in record.message


def test_limit_zero_keeps_nothing_and_says_nothing(folder, caplog):
    assert ActivationCache(folder, 0).open(key("a"), ROWS, LAYOUT) is None
    assert not folder.exists()
    assert not caplog.records


@pytest.mark.parametrize("limits", [(-1, 0), (0, -1)])
def test_negative_limits(folder, limits):
    with pytest.raises(ValueError, match="expected at least 0"):
        ActivationCache(folder, *limits)


def test_no_rows(cache):
    with pytest.raises(ValueError, match="0 rows"):
        cache.open(key("a"), 0, LAYOUT)


def test_the_least_recently_used_are_removed(folder):
    make(folder, "c", "a", "d", "b")
    cache = ActivationCache(folder, 4 * SIZE, 0)
    cache.find(key("c"))
    gc.collect()
    held = cache.open(key("e"), ROWS, LAYOUT)
    assert names(folder) == ["b", "c", "d", "e"]
    cache.open(key("f"), 2 * ROWS, LAYOUT)
    assert names(folder) == ["c", "e", "f"]
    assert sum(path.stat().st_size for path in folder.glob("*.activations")) <= 4 * SIZE
    assert held.is_in_place()


def test_open_entries_go_last(folder):
    make(folder, "a", "b", "c")
    cache = ActivationCache(folder, 3 * SIZE, 0)
    first = cache.find(key("a"))
    os.utime(first.path, (1, 1))
    second = cache.open(key("d"), ROWS, LAYOUT)
    assert names(folder) == ["a", "c", "d"]
    third = cache.open(key("e"), ROWS, LAYOUT)
    fourth = cache.open(key("f"), ROWS, LAYOUT)
    assert names(folder) == ["d", "e", "f"]
    assert is_filled(first)
    assert all(file.is_in_place() for file in (second, third, fourth))


def test_trim_keeps_the_limit(folder, cache):
    ActivationCache(folder, SIZE).trim()
    assert not folder.exists()
    make(folder, "a", "b", "c")
    cache.trim()
    assert names(folder) == ["a", "b", "c"]
    ActivationCache(folder, 2 * SIZE).trim()
    assert names(folder) == ["b", "c"]
    ActivationCache(folder, 0).trim()
    assert names(folder) == []


def free_disk(monkeypatch, free):
    """Pretend that so many bytes are free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path, real=shutil.disk_usage: real(path)._replace(free=free))


def test_a_disk_with_too_little_space_is_full(cache, folder, monkeypatch, caplog):
    make(folder, "a")
    held = cache.find(key("a"))
    free_disk(monkeypatch, SIZE - 1)
    for name in "bc":
        assert cache.open(key(name), ROWS, LAYOUT) is None
    assert names(folder) == ["a"]
    assert is_filled(held)
    (record,) = caplog.records
    assert "No space left on device" in record.message
    assert str(folder) in record.message
    assert "free some space" in record.message


def test_old_entries_make_room_on_the_disk(cache, folder, monkeypatch, caplog):
    make(folder, "a", "b")
    free_disk(monkeypatch, SIZE - 1)
    assert cache.open(key("c"), ROWS, LAYOUT) is not None
    assert names(folder) == ["b", "c"]
    assert not caplog.records


def test_entries_that_are_not_filled_yet_take_their_space(cache, folder, monkeypatch):
    large = cache.open(key("a"), 4 * ROWS, LAYOUT)
    missing = large.entry.size - 512 * large.path.stat().st_blocks
    free_disk(monkeypatch, SIZE + missing - 1)
    assert cache.open(key("b"), ROWS, LAYOUT) is None
    free_disk(monkeypatch, SIZE + missing)
    assert cache.open(key("b"), ROWS, LAYOUT) is not None


@pytest.mark.parametrize("call", ["pwrite", "ftruncate"])
def test_a_full_disk_at_creation_leaves_nothing(cache, folder, call, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    for name in "ab":
        assert cache.open(key(name), ROWS, LAYOUT) is None
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert len(caplog.records) == 1
    monkeypatch.undo()
    assert cache.open(key("a"), ROWS, LAYOUT) is not None


def test_a_folder_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = ActivationCache(tmp_path / "file" / "activations", 10 * SIZE, 0)
    for name in "ab":
        assert cache.find(key(name)) is None
        assert cache.open(key(name), ROWS, LAYOUT) is None
    assert cache.trim() is None
    assert 1 <= len(caplog.records) <= 2
    assert "check the disk and the permissions" in caplog.text


def read_only(monkeypatch):
    """Refuse to write, as a system on a read-only disk does; permissions do not stop a superuser."""

    def fail(path, flags, *args, real=os.open, **kwargs):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", fail)


def test_a_read_only_folder_is_read(cache, folder, monkeypatch, caplog):
    make(folder, "a")
    with monkeypatch.context() as patch:
        read_only(patch)
        file = cache.open(key("a"), ROWS, LAYOUT)
    assert is_filled(file)
    with file.path.open("r+b") as opened:
        opened.seek(file.entry.rows_offset)
        opened.write(b"x")
    assert file.read(np.arange(5)) is None
    file.write(np.arange(5), truth(range(5)))
    assert file.read(np.arange(5)) is None
    assert [("row 0 is damaged" in record.message) for record in caplog.records] == [True]


def test_a_read_only_folder_takes_no_new_entry(cache, folder, monkeypatch, caplog):
    make(folder, "a")
    read_only(monkeypatch)
    for name in "bc":
        assert cache.open(key(name), ROWS, LAYOUT) is None
    assert len(caplog.records) == 1
    assert "Read-only file system" in caplog.text


def test_one_process_makes_room_at_a_time(cache, folder, monkeypatch, caplog):
    make(folder, "a")
    monkeypatch.setattr(activation_cache, "_LOCK_SECONDS", 0.02)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_filled(cache.open(key("a"), ROWS, LAYOUT))
        assert cache.open(key("b"), ROWS, LAYOUT) is None
    assert "another process does not release the lock" in caplog.text
    assert cache.open(key("b"), ROWS, LAYOUT) is not None


def test_the_lock_is_waited_for(cache, folder, monkeypatch):
    make(folder, "a")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(lock, fcntl.LOCK_UN))
        assert cache.open(key("b"), ROWS, LAYOUT) is not None


def test_an_entry_that_another_process_has_just_made_is_opened(cache, folder, monkeypatch):
    @contextmanager
    def late(folder, real=activation_cache._locked):
        monkeypatch.setattr(activation_cache, "_locked", real)
        make(folder, "a")
        with real(folder):
            yield

    monkeypatch.setattr(activation_cache, "_locked", late)
    assert is_filled(cache.open(key("a"), ROWS, LAYOUT))


def test_many_writers_keep_the_limit(folder, caplog):
    barrier = threading.Barrier(4)

    def work(seed):
        cache = ActivationCache(folder, 3 * SIZE, 0)
        barrier.wait()
        for name in np.random.default_rng(seed).choice(list("abcdef"), 20):
            file = cache.open(key(name), ROWS, LAYOUT)
            fill(file)
            assert is_filled(file)
            assert len(names(folder)) <= 3

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, seed) for seed in range(4)]:
            done.result(timeout=60)
    assert len(names(folder)) == 3
    assert not caplog.records


@pytest.mark.parametrize("step", ["os.ftruncate", "Path.replace", "activation_cache.write_at"])
def test_a_killed_creation_leaves_no_entry(cache, folder, step, caplog):
    program = f"""
import os, signal
from pathlib import Path
import torch
from mu2net.train import activation_cache
from mu2net.train.activation_entry import Layout
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
{step} = kill
activation_cache.ActivationCache(Path({str(folder)!r}), 2**20).open({key("a")!r}, {ROWS}, Layout((3, 4), torch.float32))
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=100, check=False).returncode == -9
    assert names(folder) == []
    (left,) = folder.glob("*.tmp")
    assert cache.find(key("a")) is None
    fill(cache.open(key("a"), ROWS, LAYOUT))
    assert is_filled(cache.find(key("a")))
    assert not caplog.records
    os.utime(left, (time.time() - 90_000,) * 2)
    cache.open(key("b"), ROWS, LAYOUT)
    assert not left.exists()


def test_the_default_limit(tmp_path, monkeypatch):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    folder = tmp_path / "not" / "yet"
    with monkeypatch.context() as patch:
        free_disk(patch, 1000)
        assert default_cache_limit(folder) == 200
        assert ActivationCache(folder).limit == 200
    make(folder, "a", "b")
    held = sum(512 * path.stat().st_blocks for path in folder.glob("*.activations"))
    free_disk(monkeypatch, 1000)
    assert default_cache_limit(folder) == (1000 + held) // 5 > 200
    free_disk(monkeypatch, 2**60)
    assert default_cache_limit(folder) == memory // 5
