"""Batches of a split: which images, in which order, and their preparation, once for all children of a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch

from mu2net.core.rng import generator
from mu2net.data.task import Float32Array, Int64Array, Split
from mu2net.errors import DataError
from mu2net.train.augment import Pipeline, apply_pipeline, train_side
from mu2net.train.compute import Compute

SplitName = Literal["train", "validation", "test"]

Key = tuple[int | str, ...]
"""What randomness is for; see ``core.rng``."""


@dataclass(frozen=True)
class SplitReader:
    """A split with the pipeline that its images go through.

    Args:
        name: Which split of the task it is.
        split: The images and labels.
        pipeline: What happens to the images.
        compute: Where the network runs.
    """

    name: SplitName
    split: Split
    pipeline: Pipeline
    compute: Compute

    @cached_property
    def side(self) -> int:
        """Side at which pixels are fetched."""
        return train_side(self.pipeline, self.split)

    @cached_property
    def aspects(self) -> Float32Array:
        """Width / height of every original image, shape ``[images]``."""
        return self.split.aspects

    def canonical(self) -> str:
        """Return the description of the images that enter the network, for prefix keys.

        With a pipeline that draws at random, the key holds for one batch of one run only.
        """
        parts = (self.split.fingerprint, str(self.side), self.pipeline.canonical(), self.compute.canonical())
        return "|".join(parts)


class Batch:
    """Some images of a split; they are fetched and prepared when first asked for.

    Args:
        reader: The split and its pipeline.
        indices: Which images, shape ``[B]``; padding included.
        size: How many of them count; the rest is padding.
        key: Key of the batch's random draws.
    """

    def __init__(self, reader: SplitReader, indices: Int64Array, size: int, key: Key) -> None:
        self.reader, self.indices, self.size, self._key = reader, indices, size, key

    @cached_property
    def labels(self) -> torch.Tensor:
        """Class indices on the device, int64, shape ``[B]``."""
        return torch.from_numpy(self.reader.split.labels[self.indices]).to(self.reader.compute.device)

    @cached_property
    def inputs(self) -> torch.Tensor:
        """The network's input on the device, float32, shape ``[B, 3, S, S]``."""
        split, pipeline = self.reader.split, self.reader.pipeline
        pixels = split.pixels(self.reader.side)[self.indices]
        images = apply_pipeline(pipeline, pixels, self.reader.aspects[self.indices], generator(*self._key))
        return self.reader.compute.inputs(images)


class TrainBatches:
    """The training batches of a child's whole budget, in shuffled epochs that follow one another.

    An interval has as many whole batches as fit its examples: what remains is not trained in a partial batch, and the
    next interval continues with it. A batch that reaches the end of an epoch continues with the next epoch's order.
    A batch is never larger than an interval. Every batch depends on the key and its number alone.

    Args:
        reader: The training split.
        batch_size: Examples per batch.
        examples_per_interval: At most this many examples per interval, and never more than one pass.
        key: Key of the order and of the random draws.
    """

    def __init__(self, reader: SplitReader, batch_size: int, examples_per_interval: int, key: Key) -> None:
        if len(reader.split) == 0:
            raise DataError("the training split is empty; a child needs at least one example")
        self._reader, self._key = reader, key
        examples = min(examples_per_interval, len(reader.split))
        self.batch_size = min(batch_size, examples)
        self.steps_per_interval = examples // self.batch_size
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def _shuffle(self, epoch: int) -> Int64Array:
        return generator(*self._key, "order", epoch).permutation(len(self._reader.split))

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over all intervals."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(positions, len(self._reader.split))
        indices = np.concatenate([self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])
        return Batch(self._reader, indices, self.batch_size, (*self._key, "draws", step))


def evaluation_batches(reader: SplitReader, batch_size: int, max_examples: int | None = None) -> Iterator[Batch]:
    """Yield the images of a split once, in batches of one fixed shape.

    The last batch repeats its last image up to the shape: a result never depends on the number of images.

    Args:
        reader: The split, with a pipeline that draws nothing.
        batch_size: Images per batch.
        max_examples: At most this many images, drawn once for ever from the split; ``None`` for all.

    Raises:
        DataError: The split is empty.
    """
    indices = evaluation_indices(reader, max_examples)
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        padded = np.pad(chosen, (0, batch_size - len(chosen)), mode="edge")
        yield Batch(reader, padded, len(chosen), ())


def count_batches(reader: SplitReader, batch_size: int, max_examples: int | None = None) -> int:
    """Return how many batches ``evaluation_batches`` yields for the same arguments."""
    return -(-len(evaluation_indices(reader, max_examples)) // batch_size)


def evaluation_indices(reader: SplitReader, max_examples: int | None) -> Int64Array:
    """Return which images of a split are evaluated, ascending.

    Args:
        reader: The split.
        max_examples: At most this many; ``None`` for all.

    Raises:
        DataError: The split is empty.
    """
    count = len(reader.split)
    if count == 0:
        raise DataError(f"the {reader.name} split is empty; accuracy needs at least one image")
    if max_examples is None or max_examples >= count:
        return np.arange(count)
    drawn = generator("evaluation", reader.split.fingerprint).permutation(count)[:max_examples]
    return np.sort(drawn)
