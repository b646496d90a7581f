"""In which arithmetic a cycle trains, and a path runs ever after: bits depend on it, so it is recorded with both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mu2net.core.path import Path
from mu2net.nn.attention import AttentionKernel
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import Precision
from mu2net.search.config import SearchConfig
from mu2net.search.images import CACHE_NAME
from mu2net.store.records import CycleRecord
from mu2net.store.store import Store
from mu2net.train.compute import Compute, thread_count
from mu2net.train.kernel import choose_attention


def path_precision(path: Path) -> Precision:
    """Return the arithmetic that a path was trained with, and runs in."""
    recorded = path.metrics.extra.get("precision") if path.metrics else None
    return "bfloat16" if recorded == "bfloat16" else "float32"


def path_compute(backbone: Backbone, path: Path, device: torch.device) -> Compute:
    """Return how a path runs on a device: as it was trained.

    Args:
        backbone: What its slots compute.
        path: The path.
        device: Where it runs.
    """
    attention = recorded_attention(path.metrics.extra) if path.metrics else None
    return Compute.of(backbone, device, path_precision(path), attention)


def recorded_attention(recorded: Mapping[str, Any]) -> AttentionKernel | None:
    """Return the attention kernel of a cycle's configuration, of a path's metrics, or of a probe's environment.

    ``None`` stands for the fixed rule, ``choose_kernel``: systems that were written before the kernel was recorded used
    it. Networks without attention have it too.

    Args:
        recorded: What was recorded.
    """
    match recorded.get("attention"):
        case "explicit":
            return "explicit"
        case "sdpa":
            return "sdpa"
    return None


def cycle_attention(
    store: Store,
    backbone: Backbone,
    config: SearchConfig,
    device: torch.device,
    precision: Precision,
    record: CycleRecord | None,
) -> AttentionKernel | None:
    """Return the attention kernel of all children of a cycle; ``None`` for the fixed rule.

    An interrupted cycle goes on with the one that it recorded. A new one takes the faster one at the input size that it
    starts with, also for children that change it.

    Args:
        store: The system, in whose cache measurements are kept.
        backbone: What slots compute.
        config: How the cycle is run.
        device: Where children train.
        precision: Arithmetic of the activations.
        record: The interrupted cycle; ``None`` for a new one.

    Raises:
        UnknownNameError: There is no kernel of the name that ``config`` gives.
        ConfigError: A kernel is asked for, but the network has no attention.
    """
    if record is not None:
        return recorded_attention(record.config)
    image_size = backbone.anatomy.image_size_of(config.hparams)
    with thread_count(config.threads):
        return choose_attention(config.attention, backbone, device, precision, image_size, store.directory / CACHE_NAME)
