"""The images of one split at any side: from a memory-mapped file where they fit, else decoded on the fly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mu2net.data.cache import fits_on_disk, open_pixels, pixel_path, write_pixels
from mu2net.data.decode import Encoded, decode_rgb, squeeze
from mu2net.data.fingerprint import image_digest
from mu2net.data.index import SplitIndex
from mu2net.data.rows import Progress, Rows, decode_rows
from mu2net.data.task import Float32Array, Int64Array, Pixels, UInt8Array
from mu2net.errors import ConfigError, ImageError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MappedPixels:
    """Images in a memory-mapped file, see ``task.Pixels``.

    Args:
        images: The mapped file, shape ``[images, side, side, 3]``.
    """

    images: UInt8Array

    @property
    def side(self) -> int:
        """Side of the images, in pixels."""
        return int(self.images.shape[1])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, indices: Int64Array) -> UInt8Array:
        """Return a copy of some images, shape ``[len(indices), side, side, 3]``."""
        return np.take(self.images, indices, axis=0)


class DecodedPixels:
    """Images that are decoded whenever they are asked for, see ``task.Pixels``.

    Args:
        rows: Where the encoded images are.
        index: Which of them make the split, and their digests.
        side: Side of the images, in pixels.
    """

    def __init__(self, rows: Rows, index: SplitIndex, side: int) -> None:
        self._rows, self._index, self._side = rows, index, side

    @property
    def side(self) -> int:
        """Side of the images, in pixels."""
        return self._side

    def __len__(self) -> int:
        """Number of images."""
        return len(self._index.rows)

    def __getitem__(self, indices: Int64Array) -> UInt8Array:
        """Decode some images, shape ``[len(indices), side, side, 3]``.

        Raises:
            ImageError: An image is no longer what it was when the task was read first.
        """
        images = np.empty((len(indices), self._side, self._side, 3), np.uint8)
        for position, image in enumerate(self.decode(np.asarray(indices, np.int64))):
            images[position] = image
        return images

    def decode(self, indices: Int64Array, progress: Progress | None = None) -> Iterator[UInt8Array]:
        """Yield some images one after another, each ``[side, side, 3]``.

        Raises:
            ImageError: An image is no longer what it was when the task was read first.
        """

        def work(encoded: Encoded, name: str) -> tuple[bytes, UInt8Array, str]:
            image = decode_rgb(encoded, name)
            return image_digest(image), squeeze(image, self._side), name

        found = decode_rows(self._rows, self._index.rows[indices], work, progress)
        for position, result in zip(indices.tolist(), found, strict=True):
            if isinstance(result, ImageError):
                raise result
            digest, image, name = result
            if digest != self._index.digests[position].tobytes():
                raise ImageError(
                    f"image {name} has changed since the task was read; restore it, or add the data as a new task"
                )
            yield image


class SplitData:
    """The images and labels of one split, see ``task.Split``.

    Args:
        index: What is known without decoding.
        open_rows: Opens the table that the split's rows lie in; called once, when an image must be decoded.
        cache_dir: Folder of the caches.
        is_mapped: Tells from a side whether the task's images may be kept decoded.
        progress: Called while a memory-mapped file is filled.
    """

    def __init__(
        self,
        index: SplitIndex,
        open_rows: Callable[[], Rows],
        cache_dir: Path,
        is_mapped: Callable[[int], bool],
        progress: Progress | None = None,
    ) -> None:
        self._index, self._open_rows, self._cache_dir = index, open_rows, cache_dir
        self._is_mapped, self._progress = is_mapped, progress
        self._pixels: dict[int, Pixels] = {}

    @property
    def labels(self) -> Int64Array:
        """Class indices, shape ``[images]``."""
        return self._index.labels

    @property
    def aspects(self) -> Float32Array:
        """Width / height of every original image, shape ``[images]``."""
        return (self._index.sizes[:, 0] / self._index.sizes[:, 1]).astype(np.float32)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the decoded content and the labels, in order."""
        return self._index.fingerprint

    def __len__(self) -> int:
        """Number of images."""
        return len(self._index.labels)

    def native_side(self) -> int:
        """Return the largest width or height among the originals, in pixels."""
        return int(self._index.sizes.max())

    def pixels(self, side: int) -> Pixels:
        """Return the images squeezed to squares of a side, in pixels (bilinear, antialiased).

        Raises:
            ConfigError: ``side`` is not positive.
            ImageError: An image is no longer what it was when the task was read first.
        """
        if side < 1:
            raise ConfigError(f"side of the images is {side}; expected at least 1 pixel")
        if side not in self._pixels:
            self._pixels[side] = self._map(side) or DecodedPixels(self._open_rows(), self._index, side)
        return self._pixels[side]

    def _map(self, side: int) -> Pixels | None:
        """Return the images from a memory-mapped file, filling it first, or ``None`` if they do not fit."""
        if not self._is_mapped(side):
            return None
        path = pixel_path(self._cache_dir, self.fingerprint, side)
        shape = (len(self), side, side, 3)
        images = open_pixels(path, self.fingerprint, shape)
        if images is None:
            if not fits_on_disk(path.parent, int(np.prod(shape))):
                _LOG.warning("images at side %d would fill the disk of '%s'; decoding on the fly", side, path.parent)
                return None
            decoded = DecodedPixels(self._open_rows(), self._index, side)
            everything = np.arange(len(self))
            try:
                write_pixels(path, self.fingerprint, shape, decoded.decode(everything, self._progress))
            except OSError as error:
                _LOG.warning("images cannot be kept in '%s' (%s); decoding on the fly", path, error)
                return None
            images = open_pixels(path, self.fingerprint, shape)
        return None if images is None else MappedPixels(images)
