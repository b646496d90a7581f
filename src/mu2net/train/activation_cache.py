"""The folder of cached activations: bounded, safe to delete at any time, safe with several processes.

Every key has one file, which is made in full size without content and filled by whoever computes. Making one removes
those that were used least recently, by their modification times, until all sizes together keep the limit.
This is done under a lock of the folder, so that two processes do not both make room.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from mu2net.core.component import PrefixKey
from mu2net.data.cache import remove_stale
from mu2net.train.activation_entry import HEADER_BYTES, Entry, Layout
from mu2net.train.activation_file import ActivationFile, write_at
from mu2net.train.activation_memory import RowMemories

_LOG = logging.getLogger(__name__)
_SUFFIX = ".activations"
_LOCK_NAME = "lock"
_LOCK_SECONDS = 10.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


class ActivationCache:
    """Activations of frozen prefixes in a folder; see the module.

    An object belongs to one thread. Every fault is a missing entry, and logged once per object and reason.

    Args:
        folder: The folder; made when the first entry is.
        limit: Bytes that all entries may take together; 0 to keep nothing, ``None`` for ``default_cache_limit``.
        memory_limit: Bytes of private memory for rows of small entries; ``None`` for 5 % of this machine's.

    Raises:
        ValueError: A limit is negative.
    """

    def __init__(self, folder: Path, limit: int | None = None, memory_limit: int | None = None) -> None:
        self.folder = folder
        self.limit = default_cache_limit(folder) if limit is None else limit
        memory_limit = _machine_memory() // 20 if memory_limit is None else memory_limit
        if min(self.limit, memory_limit) < 0:
            raise ValueError(f"limits are {self.limit} and {memory_limit} bytes; expected at least 0")
        self._memories = RowMemories(memory_limit)
        self._files: WeakValueDictionary[PrefixKey, ActivationFile] = WeakValueDictionary()
        self._said: set[object] = set()

    def find(self, key: PrefixKey) -> ActivationFile | None:
        """Return the entry of a key if there is one; it counts as used now.

        The object that was returned before is returned again, as long as it is held somewhere and its file lies
        in the folder. A file that is no entry of this key is removed, with a warning.

        Args:
            key: Key of a prefix.
        """
        file = self._files.get(key)
        if file is None or not file.is_in_place():
            file = self._open_existing(key)
        if file is not None:
            file.memory = self._memories.of(file.entry)
            file.touch()
        return file

    def open(self, key: PrefixKey, rows: int, layout: Layout) -> ActivationFile | None:
        """Return the entry of a key, which is made where there is none; ``None`` where it does not fit.

        Entries that this object has open are the last that are removed for a new one; they go on working, and
        their space is free when they are closed. An entry of the key with other rows or another layout is replaced,
        with a warning.

        Args:
            key: Key of a prefix.
            rows: Number of activations, one for every image of the split.
            layout: What one activation is.

        Raises:
            ValueError: There are no rows.
        """
        if rows < 1:
            raise ValueError(f"an entry has {rows} rows; expected at least 1")
        entry = Entry(key, rows, layout)
        if entry.size > self.limit:
            if self.limit:
                needs, limit = _mebibytes(entry.size), _mebibytes(self.limit)
                self._say("limit", f"one entry needs {needs}, the limit is {limit}; give more with --cache-limit")
            return None
        try:
            return self._find_matching(entry) or self._create(entry)
        except OSError as error:
            is_full = error.errno in _FULL
            way_out = "free some space on that disk" if is_full else "check the disk and the permissions"
            self._say("full" if is_full else "write", f"{error}; {way_out}")
            return None

    def trim(self) -> None:
        """Remove the entries that were used least recently until all sizes together keep the limit."""
        if self.folder.is_dir():
            try:
                with _locked(self.folder):
                    self._make_room(0)
            except OSError as error:
                self._say("write", f"{error}; check the disk and the permissions")

    def _path(self, key: PrefixKey) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _say(self, reason: object, text: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            _LOG.warning("activations are not kept in '%s': %s", self.folder, text)

    def _find_matching(self, entry: Entry) -> ActivationFile | None:
        """Return the entry if it is there; another one of its key is removed."""
        file = self.find(entry.key)
        if file is None or file.entry == entry:
            return file
        found, expected = (f"{each.rows} rows of {each.layout}" for each in (file.entry, entry))
        self._discard(file.path, f"it has {found}; expected {expected}")
        return None

    def _open_existing(self, key: PrefixKey) -> ActivationFile | None:
        """Open the file of a key; what is no entry of this key is removed."""
        path = self._path(key)
        try:
            descriptor, is_writable = _open_file(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say("read", f"{error}; check the disk and the permissions")
            return None
        try:
            entry = _read_header(descriptor, key)
        except (ValueError, OSError) as error:
            os.close(descriptor)
            self._discard(path, error)
            return None
        return self._adopt(descriptor, entry, is_writable=is_writable)

    def _adopt(self, descriptor: int, entry: Entry, *, is_writable: bool = True) -> ActivationFile:
        memory, path = self._memories.of(entry), self._path(entry.key)
        file = ActivationFile(descriptor, path, entry, memory, is_writable=is_writable, said=self._said)
        self._files[entry.key] = file
        return file

    def _discard(self, path: Path, reason: object) -> None:
        """Remove a file that is not what its name says."""
        if path not in self._said:
            _LOG.warning("cached activations '%s' are computed again: %s", path, reason)
        try:
            path.unlink(missing_ok=True)
        except OSError:
            self._said.add(path)  # it stays, and is not reported each time that it is found

    def _create(self, entry: Entry) -> ActivationFile:
        """Make an entry, or open the one that another process has just made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder):
            remove_stale(self.folder)
            file = self._find_matching(entry)
            if file is None:
                self._make_room(entry.size)
                file = self._adopt(_make_file(self._path(entry.key), entry), entry)
            return file

    def _make_room(self, size: int) -> None:
        """Remove entries, the least recently used first, until one more of a size in bytes fits limit and disk.

        Entries that are not filled yet take their full size of the free disk. Those that this object has
        open go last: it would compute their rows again, and their space is not free before they are closed.

        Raises:
            OSError: Even then the disk has too little space; nothing was removed.
        """
        in_use = {file.path for file in self._files.values()}
        stored = sorted(_stored(self.folder), key=lambda each: (each.path in in_use, each.used, each.path))
        excess = sum(each.size for each in stored) + size - self.limit
        promised = sum(max(each.size - each.allocated, 0) for each in stored)
        lacking = size + promised - shutil.disk_usage(self.folder).free if size else 0
        if lacking > sum(each.size for each in stored if each.path not in in_use):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        for each in stored:
            if excess <= 0 and lacking <= 0:
                break
            each.path.unlink(missing_ok=True)
            excess, lacking = excess - each.size, lacking - each.size


def default_cache_limit(folder: Path) -> int:
    """Return the smaller of 20 % of the disk that the cache could have and 20 % of this machine's memory, in bytes.

    The first keeps the user's disk usable; the second keeps what is read in every epoch in the page cache.

    Args:
        folder: The folder of the cache; need not exist yet.
    """
    held = sum(each.allocated for each in _stored(folder))
    while not folder.exists():
        folder = folder.parent
    return min(shutil.disk_usage(folder).free + held, _machine_memory()) // 5


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


@dataclass(frozen=True)
class _Stored:
    """An entry in the folder: its full size, what it takes of the disk so far, and when it was used last."""

    path: Path
    size: int
    allocated: int
    used: int


def _stored(folder: Path) -> list[_Stored]:
    """Return the entries in a folder, which need not exist."""
    found = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            status = path.stat()
        except OSError:  # another process has just removed it
            continue
        if stat.S_ISREG(status.st_mode):
            found.append(_Stored(path, status.st_size, 512 * status.st_blocks, status.st_mtime_ns))
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the operating system releases it when the process ends.

    Raises:
        OSError: The folder cannot be written, or another process does not release the lock.
    """
    descriptor = os.open(folder / _LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > end:
                raise TimeoutError(errno.ETIMEDOUT, "another process does not release the lock", str(folder))
            time.sleep(0.01)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has the descriptor too
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_file(path: Path) -> tuple[int, bool]:
    """Open a file, and return its descriptor and whether it can be written."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC), True
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False


def _read_header(descriptor: int, key: PrefixKey) -> Entry:
    """Return what the header of a file says.

    Raises:
        ValueError: It is not a whole entry of this key.
        OSError: It cannot be read.
    """
    entry = Entry.parse(os.pread(descriptor, HEADER_BYTES, 0))
    if entry.key != key:
        raise ValueError("it belongs to another prefix")
    if os.fstat(descriptor).st_size != entry.size:
        raise ValueError(f"it has {os.fstat(descriptor).st_size} bytes; expected {entry.size}")
    return entry


def _make_file(path: Path, entry: Entry) -> int:
    """Make the file of an entry, without rows, under a temporary name and then in its place; returns its descriptor."""
    descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        write_at(descriptor, memoryview(entry.header()), 0)
        os.ftruncate(descriptor, entry.size)
        Path(temporary).replace(path)
    except BaseException:
        os.close(descriptor)
        Path(temporary).unlink(missing_ok=True)
        raise
    return descriptor
