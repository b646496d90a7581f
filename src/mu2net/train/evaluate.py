"""Logits and accuracy of a network; the same arithmetic and batch shape wherever a path runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mu2net.data.task import Split, UInt8Array
from mu2net.errors import DataError
from mu2net.train.augment import Pipeline
from mu2net.train.batches import Batch, SplitName, SplitReader, evaluation_batches, evaluation_indices
from mu2net.train.compute import Compute

EVALUATION_BATCH_SIZE = 128
"""Images per batch where nothing is trained."""

Network = Callable[[torch.Tensor], torch.Tensor]
"""Maps float32 images ``[B, 3, S, S]`` to logits ``[B, classes]``; for instance a chain."""


@dataclass(frozen=True)
class Evaluation:
    """A network's outputs on a split.

    Args:
        logits: Float32 on the CPU, shape ``[images, classes]``.
        labels: Class indices, int64, shape ``[images]``.
    """

    logits: torch.Tensor
    labels: torch.Tensor

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy in [0, 1]."""
        return count_correct(self.logits, self.labels) / len(self.labels)


def count_correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    """Return how many labels have the largest logit; rows that are not finite count as wrong.

    Args:
        logits: Shape ``[images, classes]``.
        labels: Class indices, shape ``[images]``.
    """
    is_correct = (logits.argmax(dim=1) == labels) & torch.isfinite(logits).all(dim=1)
    return int(is_correct.sum())


@torch.inference_mode()
def predict_logits(
    network: Network, images: UInt8Array, compute: Compute, *, batch_size: int = EVALUATION_BATCH_SIZE
) -> torch.Tensor:
    """Return the logits of images that already have the network's input size.

    The last batch is filled up with black images to the fixed shape, so an image's logits do not depend on how many
    follow it; on one machine and with one number of threads they are the same bits every time.

    Args:
        network: The network, on ``compute.device``.
        images: RGB images, shape ``[images, S, S, 3]``; at least one.
        compute: Where the network runs and in which arithmetic.
        batch_size: Images per batch; compare bits for equal values only.

    Returns:
        Float32 logits on the CPU, shape ``[images, classes]``.

    Raises:
        DataError: There is no image, or they are not square RGB images of 8 bits.
    """
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"images have shape {images.shape} and type {images.dtype}; expected uint8 of shape [images, side, side, 3]"
        )
    if len(images) == 0:
        raise DataError("there is no image to predict; expected at least one")
    found = []
    for start in range(0, len(images), batch_size):
        chosen = images[start : start + batch_size]
        padded = np.zeros((batch_size, *images.shape[1:]), dtype=np.uint8)
        padded[: len(chosen)] = chosen
        with compute.arithmetic():
            logits = network(compute.inputs(torch.from_numpy(padded)))
        found.append(logits[: len(chosen)].float().cpu())
    return torch.cat(found)


@torch.inference_mode()
def evaluate(
    network: Network,
    split: Split,
    pipeline: Pipeline,
    compute: Compute,
    *,
    name: SplitName = "validation",
    batch_size: int = EVALUATION_BATCH_SIZE,
    max_examples: int | None = None,
    entering: Callable[[Batch], torch.Tensor] | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Return a network's logits on a split; images are resized, never augmented.

    Args:
        network: The network, on ``compute.device``; the part of it that is left where ``entering`` is given.
        split: The images and labels.
        pipeline: Gives the input size; its augmentation is left out.
        compute: Where the network runs and in which arithmetic.
        name: Which split it is, for messages.
        batch_size: Images per batch; compare bits for equal values only.
        max_examples: At most this many images, the same ones every time; ``None`` for all.
        entering: Returns what enters ``network`` for a batch; its images by default.
        on_batch: Called with (images done, images in all) after every batch.

    Raises:
        DataError: The split is empty.
    """
    reader = SplitReader(name, split, pipeline.without_augmentation(), compute)
    total = len(evaluation_indices(reader, max_examples))
    logits, labels, done = [], [], 0
    for batch in evaluation_batches(reader, batch_size, max_examples):
        activation = batch.inputs if entering is None else entering(batch)
        with compute.arithmetic():
            outputs = network(activation)
        logits.append(outputs[: batch.size].float().cpu())
        labels.append(batch.labels[: batch.size].cpu())
        done += batch.size
        if on_batch is not None:
            on_batch(done, total)
    return Evaluation(torch.cat(logits), torch.cat(labels))
