"""When a block computes its convolutions as matrix products, and how a depthwise kernel becomes matrices.

On small feature maps, few products of a depthwise kernel's matrices are zeros, and the inner maps of a block can lie
channel by channel, so that expansion and projection need no copies either. Measured on a CPU with AVX-512, one thread,
batch 64: a training step of EfficientNet-Lite0's last three stages takes half as long at 64 and 96 pixels as with
convolutions, whose gradient for a depthwise kernel other than 3x3 is slow, and a step of the whole network two thirds;
a forward pass takes about as long. On maps of 12x12 both ways are equally fast.

Matrix products are also what bfloat16 is good for: a processor with AVX512-BF16 trains the last three stages 1.8 to 2
times as fast as in float32, while convolutions of large maps train more slowly. So bfloat16 on a CPU is that of the
small maps, and large ones stay in float32. The products, and their gradients, are in ``nn.products``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache

import torch

from mu2net.nn.precision import autocast

_MOST_POSITIONS = 64
_FEWEST_IMAGES = 8
_AS_PUBLISHED: ContextVar[bool] = ContextVar("convolutions as they are published", default=False)


@contextmanager
def as_published() -> Iterator[None]:
    """Compute the convolutions inside the block as they are published, in this thread: for counting, it is slower."""
    token = _AS_PUBLISHED.set(True)
    try:
        yield
    finally:
        _AS_PUBLISHED.reset(token)


def is_as_published(maps_BCHW: torch.Tensor) -> bool:
    """Return whether a convolution computes these maps as it is published, whatever is faster.

    Args:
        maps_BCHW: What enters it.
    """
    return maps_BCHW.is_meta or _AS_PUBLISHED.get() or torch.compiler.is_compiling()


def is_small(maps_BCHW: torch.Tensor) -> bool:
    """Return whether a block computes these maps with matrix products.

    Batches of fewer than eight images do not: in products with so few rows, a row's sum may depend on its place.

    Args:
        maps_BCHW: What enters the block.
    """
    if torch.compiler.is_compiling():  # a traced program runs on other devices and batches too
        return False
    return maps_BCHW.device.type == "cpu" and len(maps_BCHW) >= _FEWEST_IMAGES and not _is_large(maps_BCHW)


def arithmetic(maps_BCHW: torch.Tensor) -> AbstractContextManager[object]:
    """Return a context in which a slot computes these maps: float32 for large ones on a CPU, else as around it.

    Args:
        maps_BCHW: What enters the slot.
    """
    if torch.compiler.is_compiling() or maps_BCHW.device.type != "cpu" or not _is_large(maps_BCHW):
        return nullcontext()
    return autocast(maps_BCHW.device, "float32")


def multiplied_dtype(rows: torch.Tensor) -> torch.dtype:
    """Return the type in which the products of a small map are computed: autocast's, else the map's own.

    Args:
        rows: What enters.
    """
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else rows.dtype


def _is_large(maps_BCHW: torch.Tensor) -> bool:
    return maps_BCHW.shape[-2] * maps_BCHW.shape[-1] > _MOST_POSITIONS


@lru_cache(maxsize=64)
def tap_placement(kernel: int, stride: int, height: int, width: int) -> torch.Tensor:
    """Return where each tap of a kernel with padding ``SAME`` stands in the matrix of its convolution.

    A kernel's taps, as a row, times this matrix are the matrix that maps all positions of its input to all of its
    output.

    Args:
        kernel: Side of the kernel.
        stride: Its stride.
        height: Height of the input.
        width: Width of the input.

    Returns:
        Zeros and ones, shape ``[kernel², height · width · positions of the output]``.
    """
    with torch.inference_mode(mode=False):
        rows, columns = (_axis_placement(kernel, stride, side) for side in (height, width))
        placed = rows[:, None, :, None, :, None] * columns[None, :, None, :, None, :]
        return placed.reshape(kernel * kernel, -1)


def _axis_placement(kernel: int, stride: int, side: int) -> torch.Tensor:
    """Return which tap meets which place of the input for which of the output, shape ``[kernel, side, outputs]``."""
    outputs = -(-side // stride)
    before = max((outputs - 1) * stride + kernel - side, 0) // 2
    taps, places, windows = torch.arange(kernel), torch.arange(side), torch.arange(outputs)
    return (places[:, None] == windows * stride + taps[:, None, None] - before).float()
