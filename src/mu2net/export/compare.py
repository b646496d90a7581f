"""Whether what is handed out answers as the path that it came from: otherwise it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from mu2net.errors import ExportError
from mu2net.export.portable import PROBE_BATCH, TaskModel
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import build_chain
from mu2net.train.compute import Compute
from mu2net.train.evaluate import predict_logits

TOLERANCE = 1e-4
"""Largest difference of a logit; of its share where logits are larger than 1."""

LogitArray = NDArray[np.float32]

Run = Callable[[NDArray[np.uint8]], LogitArray]
"""Maps uint8 images ``[batch, side, side, 3]`` to logits ``[batch, classes]``."""


@dataclass(frozen=True)
class Agreement:
    """How closely an export answers.

    Args:
        images: How many real images were compared.
        difference: Largest difference of a logit, over 1 or the largest magnitude of the image's logits.
    """

    images: int
    difference: float


def reference_logits(backbone: Backbone, model: TaskModel) -> LogitArray:
    """Return the float32 logits of a task's path for its real images."""
    chain = build_chain(backbone, [(part.slot, tensors) for part, tensors in model.components]).eval()
    compute = Compute.of(backbone, torch.device("cpu"), "float32")
    logits: LogitArray = predict_logits(chain, model.images.numpy(), compute, batch_size=PROBE_BATCH).numpy()
    return logits


def check_agreement(what: str, run: Run, model: TaskModel, expected: LogitArray) -> Agreement:
    """Compare the answers of an export with those of the path, on all its real images, in several batch sizes.

    Args:
        what: What the export is, for the message.
        run: Runs it.
        model: The task.
        expected: Logits of the path.

    Raises:
        ExportError: A label differs, or a logit by more than ``TOLERANCE``.
    """
    images = model.images.numpy()
    logits = np.concatenate([run(np.ascontiguousarray(images[rows])) for rows in _batches(len(images))])
    scale = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
    if logits.shape != expected.shape or not np.isfinite(logits).all():
        raise ExportError(f"{what} of task {model.name!r} gives no usable logits; nothing was written")
    difference = float((np.abs(logits - expected) / scale).max())
    differs = logits.argmax(axis=1) != expected.argmax(axis=1)
    if difference > TOLERANCE or differs.any():
        raise ExportError(
            f"{what} of task {model.name!r} would answer otherwise: {int(differs.sum())} of {len(images)} labels "
            f"differ, logits by up to {difference:.2g} (at most {TOLERANCE:g} are expected); nothing was written"
        )
    return Agreement(len(images), difference)


def _batches(count: int) -> Sequence[slice]:
    """Return batches of 1, 3, and the rest, so that a fixed batch size would be noticed."""
    edges = [0, *(edge for edge in (1, 4) if edge < count), count]
    return [slice(start, end) for start, end in pairwise(edges)]
