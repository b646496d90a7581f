"""What identifies a task: its decoded content, whatever files it lies in.

An image's digest is SHA-256 over its width and height (two little-endian 64-bit integers) and its RGB bytes, row by
row, as ``decode_rgb`` gives them. A split's fingerprint covers its images' digests and labels **in order**; a task's
covers the class names in order and the three splits.

The order is that of the source: rows as they lie in a table, tables by name; in a folder by class and then by
relative path, both in the order of their code points. So the same images as PNG folders, Parquet or CSV are the same
task exactly where class names and order are the same. Order counts because batches are drawn by position.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mu2net.data.task import Int64Array, UInt8Array

DIGEST_BYTES = 32
"""Length of an image's digest."""


def image_digest(image: Image.Image) -> bytes:
    """Return the SHA-256 of a decoded image, 32 bytes.

    Args:
        image: A Pillow image of mode ``RGB``.
    """
    digest = hashlib.sha256(np.array(image.size, "<i8").tobytes())
    digest.update(image.tobytes())
    return digest.digest()


def split_fingerprint(digests: UInt8Array, labels: Int64Array) -> str:
    """Return the SHA-256 of a split's content and labels in order, 64 hexadecimal digits.

    Args:
        digests: The images' digests, shape ``[images, 32]``.
        labels: Class indices, shape ``[images]``.
    """
    digest = hashlib.sha256(b"mu2net split 1\0" + np.array(len(labels), "<i8").tobytes())
    digest.update(np.ascontiguousarray(digests).tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def task_fingerprint(classes: Sequence[str], splits: Sequence[str]) -> str:
    """Return the SHA-256 of a task, 64 hexadecimal digits.

    Args:
        classes: Class names in the order of the labels.
        splits: Fingerprints of the training, validation and test split.
    """
    content = json.dumps([list(classes), list(splits)], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(b"mu2net task 1\0" + content.encode()).hexdigest()


def digest_keys(digests: UInt8Array) -> NDArray[np.uint64]:
    """Return the first 8 bytes of every digest as a big-endian number, shape ``[images]``."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8")[:, 0].astype(np.uint64)


def digest_groups(digests: UInt8Array) -> Int64Array:
    """Return a group id per image, equal exactly where the decoded images are equal, shape ``[images]``."""
    words = np.ascontiguousarray(digests).view("<u8")
    return np.unique(words, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
