"""Where to compute, and in which arithmetic."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

from mu2net.errors import ConfigError, UnknownNameError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""What a user may ask for; ``auto`` is the first of CUDA, MPS and CPU that is there."""

Precision = Literal["float32", "bfloat16"]
"""Arithmetic of a forward pass; parameters and gradients are float32 in both."""

PrecisionName = Literal["auto", "float32", "bfloat16"]
"""What a user may ask for; ``auto`` is what trains fastest on the device."""


def choose_device(name: DeviceName | str = "auto") -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UnknownNameError: There is no such name.
        ConfigError: The device is not there.
    """
    if name not in get_args(DeviceName):
        raise UnknownNameError("device", name, get_args(DeviceName))
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_there in available.items() if is_there)
    if not available[name]:
        found = ", ".join(device for device, is_there in available.items() if is_there)
        raise ConfigError(f"device {name!r} is not available; PyTorch finds here: {found}. Use 'auto'.")
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 matrices in hardware (AVX512-BF16 or AMX; CUDA from Ampere on)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(name: PrecisionName | str, device: torch.device) -> Precision:
    """Return the arithmetic that a name stands for on a device.

    ``auto`` is bfloat16 where the device has it in hardware, and float32 otherwise. Of convolutional networks a CPU
    computes small feature maps alone in bfloat16, and large ones in float32 (``nn.small_maps``).

    Args:
        name: ``auto``, ``float32`` or ``bfloat16``.
        device: Where to compute.

    Raises:
        UnknownNameError: There is no such name.
        ConfigError: The device does not compute in bfloat16.
    """
    if name not in get_args(PrecisionName):
        raise UnknownNameError("precision", name, get_args(PrecisionName))
    if name == "float32":
        return "float32"
    if name == "bfloat16":
        if device.type != "cpu" and not has_bfloat16(device):
            raise ConfigError(f"device {device.type!r} does not compute in bfloat16; use 'float32' or 'auto'")
        return "bfloat16"
    return "bfloat16" if has_bfloat16(device) else "float32"


def activation_dtype(precision: Precision) -> torch.dtype:
    """Return the type of what matrix products return in a precision."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which networks compute in a precision, also inside another such context.

    Args:
        device: Where to compute.
        precision: The arithmetic.
    """
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
