"""What the bits of a result depend on besides the numbers that go in and the arithmetic: software and processor."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

import torch

COMPUTATION = 4
"""Raised whenever mu2net computes the same function in other steps, since its bits are others then.

1: all tokens in every block. 2: in the last block the class token alone. 3: under bfloat16 on a
CPU, convolutions of large feature maps in float32. 4: the last convolution of small feature maps as a matrix product,
and shifts of batch norms inside the products.
"""

_CPU_INFO = Path("/proc/cpuinfo")
_RESTRICTIONS = (
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
)
"""Environment variables by which MKL and oneDNN compute with other instructions than the best that there are."""


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Return the software and the processor; two results can be compared bit by bit where they are equal.

    Args:
        device: Where the network runs.
    """
    return {
        "computation": COMPUTATION,
        "torch": str(torch.__version__),
        "torch_build": _short_hash(torch.__config__.show()),
        "processor": processor(),
        "instructions": instructions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def processor() -> str:
    """Return the name of the processor's model."""
    return cpu_info("model name") or platform.processor() or platform.machine()


def instructions() -> str:
    """Return a short hash of the instructions that the processor offers and that its libraries may use.

    The name of the model does not say it: virtual machines hide instructions, and then sums are formed otherwise.
    """
    offered = sorted((cpu_info("flags") or cpu_info("Features")).split())
    return _short_hash("\n".join([*offered, *(f"{name}={os.environ.get(name)}" for name in _RESTRICTIONS)]))


@cache
def cpu_info(name: str) -> str:
    """Return the first value of a field of /proc/cpuinfo; nothing where the system or the processor has none.

    Args:
        name: The field, for instance ``model name``.
    """
    if not _CPU_INFO.exists():
        return ""
    lines = (line.partition(":") for line in _CPU_INFO.read_text(errors="replace").splitlines())
    return next((value.strip() for field, _, value in lines if field.strip() == name), "")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
