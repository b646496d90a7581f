"""The one seam through which the store reads and writes files.

Nothing else in ``store/`` opens, writes, renames or removes a file, so a test that puts a faulty ``Files`` in the
place of this one sees every step that a crash, a full disk or a broken disk can hit. (SQLite does the
registry's own input and output.)
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mu2net.errors import StoreError

TEMPORARY_PREFIX = ".tmp-"
"""How files begin that are not complete yet; a crash can leave them behind, and nothing ever reads them."""


MAX_BYTES = 2**32
"""The largest file that is read as a whole, in bytes: no component comes near it, and it fits into memory."""

_PIECE = 2**18
"""Bytes that are hashed at a time: they stay in the processor's caches. New memory for a whole file halves the pace."""


class Files:
    """The primitive steps on files, and the two safe ways to put them together.

    Every method raises ``OSError`` as the operating system gives it; the callers say what that means.
    """

    def create(self, file: Path) -> int:
        """Create a file that does not exist yet, and return its descriptor."""
        return os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all bytes."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Wait until the file's bytes are on the disk."""
        os.fsync(descriptor)

    def set_mode(self, file: Path, mode: int) -> None:
        """Set the permissions of a file."""
        file.chmod(mode)

    def rename(self, source: Path, target: Path) -> None:
        """Put ``source`` in the place of ``target`` in one step."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, file: Path) -> None:
        """Remove a file."""
        file.unlink()

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder with everything in it."""
        shutil.rmtree(folder)

    def read(self, file: Path, limit: int = MAX_BYTES) -> bytes:
        """Return all bytes of a file; one that is larger than ``limit`` bytes is an ``OSError`` (``EFBIG``)."""
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > limit:
                raise OSError(errno.EFBIG, f"{size:,} bytes, expected at most {limit:,}", str(file))
            return opened.read(limit)

    def sha256(self, file: Path, limit: int = MAX_BYTES) -> str:
        """Return the SHA-256 of a file's bytes, in hexadecimal digits; they are read piece by piece, into one buffer.

        A file that is larger than ``limit`` bytes is an ``OSError`` (``EFBIG``).
        """
        found, room = hashlib.sha256(), memoryview(bytearray(_PIECE))
        with file.open("rb", buffering=0) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > limit:
                raise OSError(errno.EFBIG, f"{size:,} bytes, expected at most {limit:,}", str(file))
            while count := opened.readinto(room):
                found.update(room[:count])
        return found.hexdigest()

    def size(self, file: Path) -> int:
        """Return the size of a file, in bytes."""
        return file.stat().st_size

    def is_file(self, file: Path) -> bool:
        """Return whether a file of this name exists."""
        return file.is_file()

    def is_folder(self, folder: Path) -> bool:
        """Return whether a folder of this name exists."""
        return folder.is_dir()

    def names(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder."""
        return sorted(entry.name for entry in folder.iterdir())

    def make_folder(self, folder: Path) -> None:
        """Create a folder and the missing ones above it, safe from a crash once this returns."""
        missing = []
        while not self.is_folder(folder):
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            self.sync_folder(new.parent)

    def replace(self, file: Path, data: bytes, mode: int, *, syncs_folder: bool = True) -> None:
        """Make ``file`` hold ``data``: a crash leaves the file as it was, or complete, and nothing between.

        Temporary file in the same folder, fsync, rename, fsync of the folder.

        Args:
            file: The file; its folder exists.
            data: All of its bytes.
            mode: Its permissions.
            syncs_folder: Whether to wait for the folder; who does not wait for it must know who else will.
        """
        temporary = file.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            descriptor = self.create(temporary)
            try:
                self.write(descriptor, data)
                self.sync(descriptor)
            finally:
                os.close(descriptor)
            self.set_mode(temporary, mode)
            self.rename(temporary, file)
        except OSError:
            # The disk may be full: give the space back. A crash (any other exception) cannot tidy up either.
            if self.is_file(temporary):
                self.remove(temporary)
            raise
        if syncs_folder:
            self.sync_folder(file.parent)

    def modified(self, file: Path) -> float:
        """Return when a file was changed last, in seconds since the epoch."""
        return file.stat().st_mtime

    def stamp(self, file: Path) -> tuple[int, int]:
        """Return the size of a file in bytes, and when it was changed last in nanoseconds."""
        found = file.stat()
        return found.st_size, found.st_mtime_ns

    def read_text(self, file: str) -> str | None:
        """Return the text of a file, ``None`` where it cannot be read."""
        try:
            return Path(file).read_text(errors="replace")
        except OSError:
            return None

    def is_process(self, pid: int) -> bool:
        """Return whether a process of this id runs on this host."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def nothing_lost(what: str) -> Iterator[None]:
    """Say what an ``OSError`` means while files are written that the registry does not name yet.

    Args:
        what: What is being stored, for the message.

    Raises:
        StoreError: Instead of the ``OSError``.
    """
    with _explained(f"{what} cannot be written", "nothing was lost, the system is as it was before"):
        yield


@contextmanager
def only_read(what: str) -> Iterator[None]:
    """Say what an ``OSError`` means while something is only looked at.

    Args:
        what: What is being read, for the message.

    Raises:
        StoreError: Instead of the ``OSError``.
    """
    with _explained(f"{what} cannot be read", "nothing was changed"):
        yield


@contextmanager
def only_removed(what: str) -> Iterator[None]:
    """Say what an ``OSError`` means while files are removed that nothing needs.

    Args:
        what: What is being removed, for the message.

    Raises:
        StoreError: Instead of the ``OSError``.
    """
    with _explained(f"{what} cannot be removed", "whatever is needed is still there"):
        yield


@contextmanager
def _explained(what: str, consequence: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = f" ({error.filename})" if error.filename else ""
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        way_out = "free some space on that disk" if is_full else "check the disk and the permissions"
        raise StoreError(
            f"{what}: {error.strerror or error}{file}; {consequence}; {way_out} and run the command again"
        ) from error
