"""Batches of a split: which images, in which order, and their preparation, once for all children of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch

from mu2net.core.rng import generator
from mu2net.data.task import Float32Array, Int64Array, Split
from mu2net.errors import DataError
from mu2net.nn.precision import autocast
from mu2net.train.augment import Draws, Pipeline, apply_pipeline, train_side
from mu2net.train.compute import Compute

SplitName = Literal["train", "validation", "test"]

Key = tuple[int | str, ...]
"""What randomness is for; see ``core.rng``."""


@dataclass(frozen=True)
class Views:
    """A pool of augmented views of every image, drawn once and read again and again.

    Fresh augmentation shows a network an image never twice in the same way; a pool of V views shows V ways. Their
    activations can be kept, so it is an approximation that trades variety for speed.

    Args:
        count: Views per image; epoch e shows view e mod ``count``.
        key: Key of their random draws; equal keys give equal views.
    """

    count: int
    key: Key


@dataclass(frozen=True)
class SplitReader:
    """A split with the pipeline that its images go through.

    Args:
        name: Which split of the task it is.
        split: The images and labels.
        pipeline: What happens to the images.
        compute: Where the network runs.
        views: The pool that augmented images come from; ``None`` to draw anew for every batch.
    """

    name: SplitName
    split: Split
    pipeline: Pipeline
    compute: Compute
    views: Views | None = None

    @cached_property
    def side(self) -> int:
        """Side at which pixels are fetched."""
        return train_side(self.pipeline, self.split)

    @cached_property
    def aspects(self) -> Float32Array:
        """Width / height of every original image, shape ``[images]``."""
        return self.split.aspects

    @property
    def is_repeatable(self) -> bool:
        """Whether an image gives the same inputs again, so that its activations can be kept."""
        return self.pipeline.is_deterministic or self.views is not None

    @property
    def num_views(self) -> int:
        """Different inputs that an image gives, where it is repeatable."""
        return 1 if self.views is None or self.pipeline.is_deterministic else self.views.count

    def canonical(self) -> str:
        """Return the description of the images that enter the network, for prefix keys.

        With a pipeline that draws anew for every batch, the key holds for one batch of one run only.
        """
        parts = [self.split.fingerprint, str(self.side), self.pipeline.canonical(), self.compute.canonical()]
        if not self.pipeline.is_deterministic:
            parts.append("drawn anew" if self.views is None else f"views {self.views}")
        return "|".join(parts)

    @cached_property
    def _views(self) -> Callable[[int], Draws]:
        """The draws of a view for all images of the split."""

        def sample(view: int) -> Draws:
            key = () if self.views is None else self.views.key
            return Draws.sample(self.pipeline, self.aspects, generator(*key, "view", view))

        return lru_cache(maxsize=None)(sample)

    def draws(self, indices: Int64Array, views: Int64Array, key: Key) -> Draws:
        """Return what is drawn for the images of a batch.

        Args:
            indices: Which images, shape ``[B]``.
            views: Which of its views each of them shows, shape ``[B]``; not read where they are drawn anew.
            key: Key of the batch, for draws that are made anew.
        """
        if self.views is None or self.pipeline.is_deterministic:
            return Draws.sample(self.pipeline, self.aspects[indices], generator(*key))
        places = [np.flatnonzero(views == view) for view in np.unique(views)]
        drawn = Draws.join([self._views(int(views[at[0]])).take(indices[at]) for at in places])
        return drawn.take(np.argsort(np.concatenate(places)))


class Batch:
    """Some images of a split; they are fetched and prepared when first asked for.

    Args:
        reader: The split and its pipeline.
        indices: Which images, shape ``[B]``; padding included.
        size: How many of them count; the rest is padding.
        key: Key of the batch's random draws.
        epochs: In which epoch each of them is seen, ascending, shape ``[B]``; all in epoch 0 by default.
    """

    def __init__(
        self, reader: SplitReader, indices: Int64Array, size: int, key: Key, epochs: Int64Array | None = None
    ) -> None:
        self.reader, self.indices, self.size, self.key = reader, indices, size, key
        self._views = (np.zeros_like(indices) if epochs is None else epochs) % reader.num_views

    @property
    def rows(self) -> Int64Array | None:
        """Numbers that name the inputs among all of the reader, shape ``[B]``; ``None`` where they never come again.

        Image i in view v is row ``v · images + i``.
        """
        return self._views * len(self.reader.split) + self.indices if self.reader.is_repeatable else None

    @cached_property
    def labels(self) -> torch.Tensor:
        """Class indices on the device, int64, shape ``[B]``."""
        return torch.from_numpy(self.reader.split.labels[self.indices]).to(self.reader.compute.device)

    @cached_property
    def inputs(self) -> torch.Tensor:
        """The network's input on the device, float32, shape ``[B, 3, S, S]``; images are prepared in float32 always."""
        pixels = self.reader.split.pixels(self.reader.side)[self.indices]
        draws = self.reader.draws(self.indices, self._views, self.key)
        with autocast(torch.device("cpu"), "float32"):
            images = apply_pipeline(self.reader.pipeline, pixels, draws)
        return self.reader.compute.inputs(images)


class TrainBatches:
    """The training batches of all children of a group, in shuffled epochs that follow one another without end.

    A batch that reaches the end of an epoch continues with the next epoch's order. Every batch depends on the keys, the
    number of images and its own number alone.

    Args:
        reader: The training split.
        batch_size: Images per batch; all of them where there are fewer.
        key: Key of the order and of the augmentation.
        pool_key: Key of the order of the first epoch, for groups that shall see the same images first; by default
            that epoch is shuffled like all others.
        num_images: How many images are seen, the first ones of the first epoch; all by default.

    Raises:
        DataError: The split is empty.
        ValueError: ``num_images`` is given without ``pool_key``, or is smaller than a batch.
    """

    def __init__(
        self,
        reader: SplitReader,
        batch_size: int,
        key: Key,
        pool_key: Key | None = None,
        num_images: int | None = None,
    ) -> None:
        if len(reader.split) == 0:
            raise DataError("the training split is empty; a child needs at least one example")
        self.reader, self._key, self._pool_key = reader, key, pool_key
        self.batch_size = min(batch_size, len(reader.split))
        self.num_images = len(reader.split) if num_images is None else num_images
        if num_images is not None and (pool_key is None or not self.batch_size <= num_images <= len(reader.split)):
            raise ValueError(
                f"{num_images} of {len(reader.split)} images in batches of {self.batch_size}; "
                "expected a batch at least, and the key of their order"
            )
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def limited(self, num_images: int) -> TrainBatches:
        """Return batches of the first images of the first epoch alone."""
        return TrainBatches(self.reader, self.batch_size, self._key, self._pool_key, num_images)

    @cached_property
    def pool(self) -> Int64Array:
        """Which images are seen, in the order of the first epoch where there is a key for it."""
        everything = len(self.reader.split)
        if self._pool_key is None:
            return np.arange(everything)
        return generator(*self._pool_key, "pool").permutation(everything)[: self.num_images]

    def _shuffle(self, epoch: int) -> Int64Array:
        if self._pool_key is not None and epoch == 0:
            return self.pool
        return self.pool[generator(*self._key, "order", epoch).permutation(self.num_images)]

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over all intervals."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, places = np.divmod(positions, self.num_images)
        indices = np.concatenate([self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])
        return Batch(self.reader, indices, self.batch_size, (*self._key, "draws", step), epochs)


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
