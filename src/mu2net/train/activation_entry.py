"""What a file of cached activations is made of: the arrangement of one activation, and where everything lies.

A file is a header page, then a table of one uint64 checksum per row, then the rows, from the next page on. The header
is a line of JSON (format, byte order, key, number of rows, layout) and a line with its checksum. A row's checksum is
the XXH3 of its bytes, seeded with its number, so that a row in the place of another is found too; 0 in the table says
that the row is missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
import xxhash

from mu2net.core.component import PrefixKey
from mu2net.data.task import UInt8Array

HEADER_BYTES = 4096
"""Size of the header page; the table of checksums begins behind it."""

_FORMAT = "mu2net activations 1"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Layout:
    """What one activation is, without the batch axis, and how it lies in memory.

    Args:
        shape: Its shape; no axis is empty.
        dtype: ``torch.float32`` or ``torch.bfloat16``.
        is_channels_last: Whether ``[C, H, W]`` lies in memory as ``[H, W, C]``; otherwise rows are contiguous.

    Raises:
        ValueError: Such activations cannot be kept.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_channels_last: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES.values():
            raise ValueError(f"activations are {self.dtype}; expected torch.float32 or torch.bfloat16")
        if min(self.shape, default=1) < 1 or (self.is_channels_last and len(self.shape) != 3):
            raise ValueError(f"activations of shape {self.shape} cannot be kept: an empty axis, or no feature maps")

    @classmethod
    def of(cls, activations: torch.Tensor) -> Layout:
        """Return the layout of a batch of activations ``[B, *shape]``.

        It is channels-last where the strides say so, also where an axis of size 1 leaves both readings open, since
        kernels go by the strides. Anything that is neither this nor contiguous, a slice for instance, is contiguous.

        Raises:
            ValueError: Such activations cannot be kept.
        """
        shape = tuple(activations.shape[1:])
        if len(shape) != 3:
            return cls(shape, activations.dtype)
        channels, height, width = shape
        strides = tuple(activations.stride()[1:])
        is_contiguous = strides == (height * width, width, 1)
        is_channels_last = strides == (1, width * channels, channels) and not is_contiguous
        return cls(shape, activations.dtype, is_channels_last)

    @property
    def row_bytes(self) -> int:
        """Bytes of one activation."""
        return prod(self.shape) * self.dtype.itemsize

    def to_bytes(self, activations: torch.Tensor) -> UInt8Array:
        """Return activations ``[B, *shape]`` as uint8 ``[B, row_bytes]``, in the order in which they lie in memory.

        Args:
            activations: On any device; not copied where they lie on the CPU as the layout says.

        Raises:
            ValueError: They have another layout.
        """
        found = Layout.of(activations)
        if found != self:
            raise ValueError(f"activations have {found}; their entry in the cache has {self}")
        content = activations.detach().to("cpu")
        if self.is_channels_last:
            content = content.permute(0, 2, 3, 1)
        # One axis first: only then the last stride is 1 for certain, which a view of other elements needs.
        array: UInt8Array = content.reshape(-1).view(torch.uint8).view(len(content), self.row_bytes).numpy()
        return array

    def empty(self, count: int) -> torch.Tensor:
        """Return uninitialised memory for the bytes of activations, uint8 ``[count, row_bytes]``.

        It comes from torch, so that it is aligned as a computed activation is: kernels may go by that too.
        """
        return torch.empty((count, self.row_bytes), dtype=torch.uint8)

    def restore(self, content: torch.Tensor) -> torch.Tensor:
        """Return bytes, uint8 ``[B, row_bytes]``, as the activations ``[B, *shape]`` that they are; shares memory."""
        typed = content.view(self.dtype)
        if not self.is_channels_last:
            return typed.view(len(content), *self.shape)
        channels, height, width = self.shape
        return typed.view(len(content), height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Entry:
    """The activations of one key: what the header of a file says.

    Args:
        key: Key of the frozen prefix behind which they were taken.
        rows: Number of activations, one for every image of the split.
        layout: What each of them is.
    """

    key: PrefixKey
    rows: int
    layout: Layout

    @property
    def rows_offset(self) -> int:
        """Where the rows begin in the file, in bytes."""
        return HEADER_BYTES + -(-8 * self.rows // HEADER_BYTES) * HEADER_BYTES

    @property
    def size(self) -> int:
        """Size of the whole file, in bytes."""
        return self.rows_offset + self.rows * self.layout.row_bytes

    def header(self) -> bytes:
        """Return the header page."""
        names = {dtype: name for name, dtype in _DTYPES.items()}
        said = {
            "format": _FORMAT,
            "byteorder": sys.byteorder,
            "key": self.key,
            "rows": self.rows,
            "shape": self.layout.shape,
            "dtype": names[self.layout.dtype],
            "channels_last": self.layout.is_channels_last,
        }
        line = json.dumps(said).encode()
        return b"\n".join((line, _signature(line), b"")).ljust(HEADER_BYTES, b"\0")

    @classmethod
    def parse(cls, page: bytes) -> Entry:
        """Return what a header page says.

        Args:
            page: The first ``HEADER_BYTES`` of a file.

        Raises:
            ValueError: It is no header, or one of another format.
        """
        line, _, rest = page.partition(b"\n")
        if len(page) != HEADER_BYTES or rest.partition(b"\n")[0] != _signature(line):
            raise ValueError("its header is damaged")
        said = json.loads(line)
        if said.get("format") != _FORMAT or said.get("byteorder") != sys.byteorder:
            raise ValueError("it has another format")
        layout = Layout(tuple(said["shape"]), _DTYPES[said["dtype"]], said["channels_last"])
        return cls(PrefixKey(said["key"]), said["rows"], layout)


def _signature(line: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(line).encode()


def checksums(numbers: Iterable[int], content: UInt8Array) -> list[int]:
    """Return the checksums of rows, never 0.

    Args:
        numbers: Numbers of the rows.
        content: Their bytes, ``[rows, row_bytes]``, contiguous.
    """
    size, view = content.shape[1], content.reshape(-1).data
    digest = xxhash.xxh3_64_intdigest
    return [digest(view[i * size : (i + 1) * size], number) or 1 for i, number in enumerate(numbers)]
