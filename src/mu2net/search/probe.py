"""Probes: a fixed batch of images and the logits that a path gave for them when it was published."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch

from mu2net.data.task import Split
from mu2net.nn.backbone import Backbone, Tensors
from mu2net.nn.chain import Chain
from mu2net.nn.precision import Precision
from mu2net.train.compute import Compute, thread_count
from mu2net.train.evaluate import predict_logits

PROBE_SIZE = 16
"""Images of a probe, fewer where the validation split has fewer."""

PROBE_TOLERANCE = 1e-5
"""Largest difference of float32 logits between machines or versions."""

_THREADS = 1
"""Probes run on one thread, because sums depend on how they are split."""


@dataclass(frozen=True)
class ProbeResult:
    """How a path's logits compare with the recorded ones.

    Args:
        is_bit_equal: Whether all bits are equal; ``None`` where the environment differs and bits were not compared.
        max_difference: Largest absolute difference of the float32 logits.
        num_logits: Logits that were compared.
        reason: Why bits were not compared.
    """

    is_bit_equal: bool | None
    max_difference: float
    num_logits: int
    reason: str = ""


def environment(device: torch.device, precision: Precision, batch: int) -> dict[str, Any]:
    """Return what the bits of logits depend on besides the components: software, processor and batch shape.

    Args:
        device: Where the network runs.
        precision: Its arithmetic.
        batch: Images per batch.
    """
    build = hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:16]
    return {
        "torch": torch.__version__,
        "torch_build": build,
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision,
        "threads": _THREADS,
        "batch": batch,
    }


def _processor() -> str:
    info = FilePath("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def make_probe(
    chain: Chain, backbone: Backbone, split: Split, image_size: int, device: torch.device, precision: Precision
) -> tuple[Tensors, dict[str, Any]]:
    """Return the probe of a path: images, its logits in its own arithmetic and in float32; and the environment.

    Args:
        chain: The path's network, on ``device``.
        backbone: What its slots compute.
        split: Where the images come from; the first ones are taken.
        image_size: Side of the network's input, in pixels.
        device: Where the network runs.
        precision: The path's own arithmetic.
    """
    chosen = np.arange(min(PROBE_SIZE, len(split)), dtype=np.int64)
    images = torch.from_numpy(np.array(split.pixels(image_size)[chosen]))
    tensors = {
        "images": images,
        "logits": _logits(chain, backbone, images, device, precision),
        "logits_float32": _logits(chain, backbone, images, device, "float32"),
    }
    return tensors, environment(device, precision, len(images))


def check_probe(
    chain: Chain,
    backbone: Backbone,
    probe: Mapping[str, torch.Tensor],
    recorded: Mapping[str, Any],
    device: torch.device,
    precision: Precision,
) -> ProbeResult:
    """Compute a probe again and compare.

    Bits are compared where software, processor and batch shape are those of the recording; elsewhere float32 logits
    must agree within ``PROBE_TOLERANCE``.

    Args:
        chain: The path's network, on ``device``.
        backbone: What its slots compute.
        probe: Tensors of ``make_probe``.
        recorded: Environment of ``make_probe``.
        device: Where the network runs now.
        precision: The path's own arithmetic.
    """
    images = probe["images"]
    here = environment(device, precision, len(images))
    plain = _logits(chain, backbone, images, device, "float32")
    difference = _max_difference(plain, probe["logits_float32"])
    changed = [name for name in here if here[name] != recorded.get(name)]
    if changed:
        reason = ", ".join(f"{name}: recorded {recorded.get(name)!r}, here {here[name]!r}" for name in changed)
        return ProbeResult(None, difference, plain.numel(), reason)
    own = _logits(chain, backbone, images, device, precision)
    is_equal = torch.equal(own, probe["logits"]) and torch.equal(plain, probe["logits_float32"])
    return ProbeResult(is_equal, max(difference, _max_difference(own, probe["logits"])), plain.numel())


def _max_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    difference = (found - expected).abs().max().item() if found.numel() else 0.0
    return difference if difference == difference else float("inf")


def _logits(
    chain: Chain, backbone: Backbone, images: torch.Tensor, device: torch.device, precision: Precision
) -> torch.Tensor:
    compute = Compute.of(backbone, device, precision)
    with thread_count(_THREADS):
        return predict_logits(chain, images.numpy(), compute, batch_size=len(images))
