"""What a task is to the rest of the house: three splits of labelled images, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]


class Pixels(Protocol):
    """Square RGB images of one size, from a memory-mapped file or decoded on the fly; both give equal bytes."""

    @property
    def side(self) -> int:
        """Side of the images, in pixels."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def __getitem__(self, indices: Int64Array) -> UInt8Array:
        """Return images as an array of shape ``[len(indices), side, side, 3]``, RGB in 0..255."""
        ...


class Split(Protocol):
    """The images and labels of one split."""

    @property
    def labels(self) -> Int64Array:
        """Class indices, shape ``[images]``."""
        ...

    @property
    def aspects(self) -> Float32Array:
        """Width / height of every original image, shape ``[images]``."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the decoded content and the labels, in order."""
        ...

    def __len__(self) -> int:
        """Number of images."""
        ...

    def pixels(self, side: int) -> Pixels:
        """Return the images squeezed to squares of a side, in pixels (bilinear, antialiased)."""
        ...

    def native_side(self) -> int:
        """Return the largest width or height among the originals, in pixels."""
        ...


@dataclass(frozen=True)
class TaskData:
    """A task's images.

    Args:
        name: Name of the task.
        classes: Class names; a label is an index into them.
        fingerprint: SHA-256 over the decoded content, the labels, the classes and the splits.
        train: Training split.
        validation: Validation split, what ``quality`` is measured on.
        test: Test split, read once per published path.
    """

    name: str
    classes: tuple[str, ...]
    fingerprint: str
    train: Split
    validation: Split
    test: Split
