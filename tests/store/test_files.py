from __future__ import annotations

import errno
import os
import stat

import pytest

from mu2net.errors import StoreError
from mu2net.store.files import Files, nothing_lost


def test_replace_is_complete_or_nothing(tmp_path):
    file = tmp_path / "file"
    Files().replace(file, b"old", 0o644)
    Files().replace(file, b"new", 0o444)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o444

    class Full(Files):
        def write(self, descriptor: int, data: bytes) -> None:
            super().write(descriptor, data[:1])
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        Full().replace(file, b"newer", 0o644)
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_the_order_of_a_replacement(tmp_path):
    steps: list[str] = []

    class Recorded(Files):
        def __getattribute__(self, name: str) -> object:
            if name in {"create", "write", "sync", "set_mode", "rename", "sync_folder"}:
                steps.append(name)
            return super().__getattribute__(name)

    Recorded().replace(tmp_path / "file", b"data", 0o444)
    assert steps == ["create", "write", "sync", "set_mode", "rename", "sync_folder"]


def test_new_folders_are_synced_from_the_top(tmp_path):
    synced = []

    class Recorded(Files):
        def sync_folder(self, folder):
            synced.append(folder)
            super().sync_folder(folder)

    Recorded().make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    Recorded().make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    Files().replace(tmp_path / "file", b"0123456789", 0o644)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_an_operating_system_error_becomes_a_message():
    with (
        pytest.raises(StoreError, match=r"path 'x' cannot be written: Quota.*nothing was lost.*free some space"),
        nothing_lost("path 'x'"),
    ):
        raise OSError(errno.EDQUOT, "Quota exceeded", "/some/file")
    with pytest.raises(KeyError), nothing_lost("path 'x'"):
        raise KeyError
