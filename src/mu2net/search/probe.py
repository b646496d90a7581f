"""Probes: a fixed batch of images and the logits that a path gave for them when it was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mu2net.data.task import Split
from mu2net.nn.backbone import Tensors
from mu2net.nn.chain import Chain
from mu2net.nn.machine import describe_machine
from mu2net.search.arithmetic import recorded_attention
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


def environment(compute: Compute, batch: int) -> dict[str, Any]:
    """Return what the bits of logits depend on besides the components: software, processor, arithmetic, batch shape.

    Args:
        compute: Where the network runs and in which arithmetic.
        batch: Images per batch.
    """
    return {
        **describe_machine(compute.device),
        "precision": compute.precision,
        "attention": compute.attention,
        "threads": _THREADS,
        "batch": batch,
    }


def make_probe(chain: Chain, split: Split, image_size: int, compute: Compute) -> tuple[Tensors, dict[str, Any]]:
    """Return the probe of a path: images, its logits in its own arithmetic and in float32; and the environment.

    Args:
        chain: The path's network, on the device of ``compute``.
        split: Where the images come from; the first ones are taken.
        image_size: Side of the network's input, in pixels.
        compute: The path's own arithmetic.
    """
    chosen = np.arange(min(PROBE_SIZE, len(split)), dtype=np.int64)
    images = torch.from_numpy(np.array(split.pixels(image_size)[chosen]))
    tensors = {
        "images": images,
        "logits": _logits(chain, images, compute),
        "logits_float32": _logits(chain, images, compute.in_float32()),
    }
    return tensors, environment(compute, len(images))


def check_probe(
    chain: Chain, probe: Mapping[str, torch.Tensor], recorded: Mapping[str, Any], compute: Compute
) -> ProbeResult:
    """Compute a probe again and compare.

    Bits are compared where software, processor and batch shape are those of the recording; elsewhere float32 logits
    must agree within ``PROBE_TOLERANCE``. Attention is computed with the kernel that was recorded, and a recording that
    does not name its computation is of the first one.

    Args:
        chain: The path's network, on the device of ``compute``.
        probe: Tensors of ``make_probe``.
        recorded: Environment of ``make_probe``; what an older version left out is not compared.
        compute: The path's own arithmetic, where the network runs now.
    """
    images = probe["images"]
    compute = replace(compute, attention=recorded_attention(recorded) or compute.attention)
    here, recorded = environment(compute, len(images)), {"computation": 1, **recorded}
    plain = _logits(chain, images, compute.in_float32())
    difference = _max_difference(plain, probe["logits_float32"])
    changed = [name for name in here if here[name] != recorded.get(name, here[name])]
    if changed:
        reason = ", ".join(f"{name}: recorded {recorded[name]!r}, here {here[name]!r}" for name in changed)
        return ProbeResult(None, difference, plain.numel(), reason)
    own = _logits(chain, images, compute)
    is_equal = torch.equal(own, probe["logits"]) and torch.equal(plain, probe["logits_float32"])
    return ProbeResult(is_equal, max(difference, _max_difference(own, probe["logits"])), plain.numel())


def _max_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    difference = (found - expected).abs().max().item() if found.numel() else 0.0
    return difference if difference == difference else float("inf")


def _logits(chain: Chain, images: torch.Tensor, compute: Compute) -> torch.Tensor:
    with thread_count(_THREADS):
        return predict_logits(chain, images.numpy(), compute, batch_size=len(images))
