"""Which attention kernel is faster: measured once per machine and shape, and kept in a file that may be deleted.

The file holds what was measured, never a decision that a path depends on: the kernel of a cycle is recorded with it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from mu2net.data.cache import write_atomically
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.nn.attention import AttentionKernel, AttentionShape, Kernel, attend
from mu2net.nn.backbone import Backbone
from mu2net.nn.machine import describe_machine
from mu2net.nn.precision import Precision, activation_dtype, autocast

FILE_NAME = "kernels.json"
"""Where measurements lie in a system's cache."""

_LOG = logging.getLogger(__name__)
_KERNELS: tuple[AttentionKernel, ...] = get_args(AttentionKernel)
_BATCH = 64
"""Images of a batch in training, of which a part is measured where they have many tokens."""

_MAX_MEASURED = 2**21
"""Most attention weights of a batch that is measured, so that it takes little time and memory."""

_MAX_KEPT = 2**26
"""Most attention weights of a training batch for ``explicit``, which keeps those of every trained block in memory."""

_CLEARLY, _VERY_CLEARLY = 0.95, 0.7
"""``explicit`` must take at most this share of the time of ``sdpa``: the second where a part of a batch was measured.

A whole batch's weights leave the processor's caches and take fresh memory from the system every time; a part makes
``explicit`` look 1.1 to 1.4 times as fast as it is (197 tokens, 12 heads; Intel with AVX512).
"""

_MIN_ROUNDS, _MAX_ROUNDS = 3, 51
_SECONDS = 0.6

Seconds = Mapping[AttentionKernel, float]
"""Seconds of one forward and backward pass by kernel."""


class _Measurement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    conditions: dict[str, str | int]
    seconds: dict[AttentionKernel, PositiveFloat]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["mu2net kernels 1"]
    measurements: list[_Measurement]


def choose_attention(
    name: Kernel | str,
    backbone: Backbone,
    device: torch.device,
    precision: Precision,
    image_size: int,
    cache_dir: Path,
) -> AttentionKernel | None:
    """Return the kernel that a name stands for on this machine; ``None`` for networks without attention.

    ``auto`` is what was measured to be faster for the shape that the network has at ``image_size``, with as many
    threads as PyTorch uses now; it is measured at the first time. Two measurements of kernels that are about equally
    fast may have different winners. Where attention weights would fill the memory it is ``sdpa``.

    Args:
        name: ``auto``, ``explicit`` or ``sdpa``.
        backbone: What is computed.
        device: Where to compute.
        precision: Arithmetic of the activations.
        image_size: Side of the network's input, in pixels.
        cache_dir: The system's folder for what may be deleted at any time.

    Raises:
        UnknownNameError: There is no such name.
        ConfigError: A kernel is asked for, but the network has no attention.
    """
    if name not in get_args(Kernel):
        raise UnknownNameError("attention kernel", name, get_args(Kernel))
    shape = backbone.attention_shape(image_size)
    if shape is None:
        if name != "auto":
            family = backbone.anatomy.backbone
            raise ConfigError(f"attention is {name!r}, but a network of family {family!r} has none; leave it out")
        return None
    asked = next((kernel for kernel in _KERNELS if kernel == name), None)
    if asked is None and _BATCH * _weights(shape) > _MAX_KEPT:
        return "sdpa"
    return asked or faster_kernel(shape, _remembered(shape, device, precision, cache_dir / FILE_NAME))


def faster_kernel(shape: AttentionShape, seconds: Seconds) -> AttentionKernel:
    """Return the kernel to use: ``explicit`` where it is clearly faster, else ``sdpa``, which needs less memory.

    Args:
        shape: The shape of the attention.
        seconds: What both were measured to take.
    """
    most = _CLEARLY if _measured_batch(shape) == _BATCH else _VERY_CLEARLY
    return "explicit" if seconds["explicit"] <= most * seconds["sdpa"] else "sdpa"


def _weights(shape: AttentionShape) -> int:
    """Return the number of attention weights of one image in one block."""
    return shape.heads * shape.tokens**2


def _measured_batch(shape: AttentionShape) -> int:
    """Return how many images are measured at once."""
    return max(1, min(_BATCH, _MAX_MEASURED // _weights(shape)))


def time_kernels(
    shape: AttentionShape,
    device: torch.device,
    precision: Precision,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[AttentionKernel, float]:
    """Return the median time of a forward and backward pass of both kernels, in seconds per image.

    They take turns, so that what else the machine does slows down both. It takes about a second: the batch is
    training's, or a part of it where images have many tokens.

    Args:
        shape: The shape of the attention.
        device: Where to compute.
        precision: Arithmetic of the activations.
        clock: Returns the time in seconds.
    """
    batch = _measured_batch(shape)
    generator = torch.Generator().manual_seed(0)
    size = (batch, shape.tokens, 3, shape.heads, shape.width)
    inputs = torch.randn(size, generator=generator).to(device, activation_dtype(precision)).requires_grad_()
    gradient = torch.ones(batch, shape.tokens, shape.heads * shape.width, dtype=inputs.dtype, device=device)

    def run(kernel: AttentionKernel) -> float:
        _wait(device)
        started = clock()
        queries, keys, values = inputs.permute(2, 0, 3, 1, 4).unbind(0)
        with autocast(device, precision):
            outputs = attend(queries, keys, values, kernel)
        torch.autograd.grad(outputs, inputs, gradient)
        _wait(device)
        return clock() - started

    for kernel in _KERNELS:
        run(kernel)
    taken: dict[AttentionKernel, list[float]] = {kernel: [] for kernel in _KERNELS}
    for done in range(_MAX_ROUNDS):
        if done >= _MIN_ROUNDS and sum(map(sum, taken.values())) >= _SECONDS:
            break
        for kernel in _KERNELS:
            taken[kernel].append(run(kernel))
    return {kernel: median(values) / batch for kernel, values in taken.items()}


def _wait(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _remembered(shape: AttentionShape, device: torch.device, precision: Precision, path: Path) -> Seconds:
    """Return what was measured for a shape on this machine, after measuring it where it never was."""
    conditions: dict[str, str | int] = {
        **describe_machine(device),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "batch": _BATCH,
        **asdict(shape),
    }
    known = _read(path)
    for measurement in known:
        if measurement.conditions == conditions and set(measurement.seconds) == set(_KERNELS):
            return measurement.seconds
    found = _Measurement(conditions=conditions, seconds=time_kernels(shape, device, precision))
    _write(path, [*known, found])
    return found.seconds


def _read(path: Path) -> list[_Measurement]:
    try:
        return _File.model_validate_json(path.read_bytes()).measurements
    except FileNotFoundError:
        return []
    except (ValidationError, OSError) as error:
        reason = f"{len(error.errors())} errors" if isinstance(error, ValidationError) else error
        _LOG.warning("'%s' cannot be used (%s); attention kernels are measured again", path, reason)
        return []


def _write(path: Path, measurements: list[_Measurement]) -> None:
    content: dict[str, Any] = _File(format="mu2net kernels 1", measurements=measurements).model_dump(mode="json")
    try:
        write_atomically(path, lambda file: file.write(json.dumps(content, indent=1).encode()))
    except OSError as error:
        _LOG.warning("'%s' cannot be written (%s); attention kernels will be measured again", path, error)
