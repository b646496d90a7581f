"""Decoded images in memory-mapped files that may be deleted at any time.

A file is one header page and then the raw uint8 pixels ``[images, side, side, 3]``. The header is a line of JSON:
format, shape, the fingerprint of the split, and the SHA-256 of the pixels. A file is written under a temporary name in
the same folder, flushed to the disk and renamed, so that two processes that fill one entry both end with a whole
file. A file that is truncated, altered or of another split is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from mu2net.data.task import UInt8Array

_LOG = logging.getLogger(__name__)
_HEADER = 4096
_FORMAT = "mu2net pixels 1"
_STALE_SECONDS = 24 * 3600


def write_atomically(path: Path, write: Any) -> None:
    """Write a file under a temporary name, flush it to the disk, and rename it.

    Args:
        path: Where it goes; its folder is made.
        write: Called with the open binary file.

    Raises:
        OSError: The disk is full, or the folder cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_stale(folder: Path) -> None:
    """Remove temporary files that a killed process left in a folder more than a day ago."""
    for temporary in folder.glob("*.tmp"):
        try:
            if time.time() - temporary.stat().st_mtime > _STALE_SECONDS:
                temporary.unlink()
        except FileNotFoundError:  # another process was faster
            continue


def pixel_path(cache_dir: Path, fingerprint: str, side: int) -> Path:
    """Return where the pixels of a split lie at a side, in pixels."""
    return cache_dir / "images" / f"{fingerprint}-{side}.u8"


def open_pixels(path: Path, fingerprint: str, shape: tuple[int, int, int, int]) -> UInt8Array | None:
    """Map a file of pixels, or return ``None`` if there is no whole and matching one.

    Args:
        path: The file.
        fingerprint: Fingerprint of the split.
        shape: ``(images, side, side, 3)``.
    """
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(_HEADER).rstrip(b"\0"))
            expected = {"format": _FORMAT, "fingerprint": fingerprint, "shape": list(shape)}
            if not isinstance(header, dict) or {**header, "sha256": None} != {**expected, "sha256": None}:
                raise ValueError("it was made for other images")
            if path.stat().st_size != _HEADER + int(np.prod(shape)):
                raise ValueError("it is truncated")
            if hashlib.file_digest(file, "sha256").hexdigest() != header.get("sha256"):
                raise ValueError("its checksum is wrong")
        return np.asarray(np.memmap(path, np.uint8, "r", _HEADER, shape))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        _LOG.warning("cached images '%s' are built again: %s", path, error)
        return None


def write_pixels(path: Path, fingerprint: str, shape: tuple[int, int, int, int], images: Iterable[UInt8Array]) -> None:
    """Write a file of pixels.

    Args:
        path: The file.
        fingerprint: Fingerprint of the split.
        shape: ``(images, side, side, 3)``.
        images: The images in order, each ``[side, side, 3]``.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
        ValueError: There are not as many images as ``shape`` says.
    """

    def write(file: IO[bytes]) -> None:
        digest, count = hashlib.sha256(), 0
        file.write(bytes(_HEADER))
        for image in images:
            content = np.ascontiguousarray(image).tobytes()
            digest.update(content)
            file.write(content)
            count += 1
        if count != shape[0]:
            raise ValueError(f"{count} images for shape {shape}")
        header = {"format": _FORMAT, "fingerprint": fingerprint, "shape": list(shape), "sha256": digest.hexdigest()}
        file.seek(0)
        file.write(json.dumps(header).encode())

    write_atomically(path, write)
    remove_stale(path.parent)


def default_memory_limit() -> int:
    """Return a quarter of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def fits_on_disk(folder: Path, size: int) -> bool:
    """Return whether a file takes at most half of what is free on a folder's disk.

    Args:
        folder: The folder; need not exist yet.
        size: Bytes.
    """
    while not folder.exists():
        folder = folder.parent
    return size <= shutil.disk_usage(folder).free // 2
