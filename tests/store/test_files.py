from __future__ import annotations

import errno
import os
import stat

import pytest

from mu2net.errors import StoreError
from mu2net.store.files import Files, nothing_lost, only_removed


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


def test_a_file_above_the_limit_is_not_read(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert Files().read(file, 5) == Files().read(file) == b"12345"
    with pytest.raises(OSError, match=r"5 bytes, expected at most 4") as raised:
        Files().read(file, 4)
    assert raised.value.errno == errno.EFBIG


def test_the_folder_is_synced_unless_somebody_else_does(tmp_path):
    synced = []

    class Watched(Files):
        def sync_folder(self, folder):
            synced.append(folder)
            super().sync_folder(folder)

    Watched().replace(tmp_path / "file", b"a", 0o644, syncs_folder=False)
    assert synced == []
    Watched().replace(tmp_path / "file", b"b", 0o644)
    assert synced == [tmp_path]
    assert (tmp_path / "file").read_bytes() == b"b"


@pytest.mark.parametrize(("error", "runs"), [(None, True), (ProcessLookupError, False), (PermissionError, True)])
def test_whether_a_process_runs(monkeypatch, error, runs):
    """One of somebody else may not be signalled, and runs."""

    def kill(pid, signal):
        assert signal == 0
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert Files().is_process(1) is runs


def test_what_is_removed_is_explained():
    with (
        pytest.raises(StoreError, match=r"the files cannot be removed: .*whatever is needed is still there"),
        only_removed("the files"),
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
