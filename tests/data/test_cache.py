from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time

import numpy as np
import pytest

from mu2net.data.cache import (
    default_memory_limit,
    fits_on_disk,
    open_pixels,
    pixel_path,
    remove_stale,
    write_atomically,
    write_pixels,
)

SHAPE = (5, 3, 3, 3)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture
def entry(tmp_path, images):
    path = pixel_path(tmp_path, "f" * 64, 3)
    write_pixels(path, "f" * 64, SHAPE, images)
    return path


def test_round_trip(entry, images):
    found = open_pixels(entry, "f" * 64, SHAPE)
    assert np.array_equal(found, images)
    assert not found.flags.writeable
    assert [path.name for path in entry.parent.iterdir()] == [f"{'f' * 64}-3.u8"]


def test_the_pixels_are_mapped_not_read(entry):
    found = open_pixels(entry, "f" * 64, SHAPE)
    while not isinstance(found, np.memmap):
        found = found.base
    assert found.offset == 4096


def test_a_missing_entry_is_silent(tmp_path, caplog):
    assert open_pixels(tmp_path / "no.u8", "f" * 64, SHAPE) is None
    assert not caplog.records


def damage_truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def damage_extend(path):
    with path.open("ab") as file:
        file.write(b"x")


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)


def damage_header(path):
    content = bytearray(path.read_bytes())
    content[2] ^= 0x80
    path.write_bytes(content)


def damage_empty(path):
    path.write_bytes(b"")


def damage_list(path):
    path.write_bytes(json.dumps([1]).encode().ljust(4096, b"\0"))


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_extend, damage_bit, damage_header, damage_empty, damage_list]
)
def test_damaged_entries_are_found(entry, damage, caplog):
    damage(entry)
    with caplog.at_level(logging.WARNING):
        assert open_pixels(entry, "f" * 64, SHAPE) is None
    assert "are built again" in caplog.text


def test_entries_of_other_images_are_found(entry):
    assert open_pixels(entry, "0" * 64, SHAPE) is None
    assert open_pixels(entry, "f" * 64, (4, 3, 3, 3)) is None


def test_a_failed_write_leaves_nothing(tmp_path, images):
    path = pixel_path(tmp_path, "e" * 64, 3)
    with pytest.raises(ValueError, match="4 images"):
        write_pixels(path, "e" * 64, SHAPE, images[:4])

    def fail(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    assert list(path.parent.iterdir()) == []


def test_an_open_map_survives_deletion_and_replacement(entry, images):
    found = open_pixels(entry, "f" * 64, SHAPE)
    write_pixels(entry, "f" * 64, SHAPE, images)
    shutil.rmtree(entry.parent)
    assert np.array_equal(found, images)


def test_many_writers_of_one_entry(tmp_path, images):
    path = pixel_path(tmp_path, "f" * 64, 3)
    barrier = threading.Barrier(4)

    def fill():
        barrier.wait()
        for _ in range(5):
            write_pixels(path, "f" * 64, SHAPE, images)
            assert open_pixels(path, "f" * 64, SHAPE) is not None

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert np.array_equal(open_pixels(path, "f" * 64, SHAPE), images)


def test_only_old_temporary_files_are_removed(tmp_path):
    old, new, entry = tmp_path / "a.tmp", tmp_path / "b.tmp", tmp_path / "c.u8"
    for path in (old, new, entry):
        path.touch()
    for path in (old, entry):
        os.utime(path, (time.time() - 90_000,) * 2)
    remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tmp", "c.u8"]


def test_limits(tmp_path, monkeypatch):
    assert 2**20 < default_memory_limit() < 2**50
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert fits_on_disk(tmp_path / "not" / "yet", 500)
    assert not fits_on_disk(tmp_path, 501)
