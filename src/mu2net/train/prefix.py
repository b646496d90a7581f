"""The frozen slots below a child's lowest trainable slot, and the activations that leave them.

Two children with the same prefix key read the same activation there, so nothing is computed twice: within a batch every
slot that prefixes share runs once, and activations of inputs that come again are kept in files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch

from mu2net.core.component import Digest, PrefixKey, prefix_keys
from mu2net.data.task import Int64Array
from mu2net.nn.chain import Chain
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.activation_entry import Layout
from mu2net.train.activation_file import ActivationFile
from mu2net.train.batches import Batch, SplitName, SplitReader

Rounding = Literal["exact", "bfloat16"]
"""What enters the trainable slots: the activation as it is, or rounded to bfloat16, which halves what is kept."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """The frozen slots before the first that a child trains.

    Args:
        chain: The child's network.
        depth: Number of frozen slots at its bottom; 0 where the first slot trains.
        keys: For every split key(0) … key(depth): the names of the activation that enters the network, and of those
            after every frozen slot.
    """

    chain: Chain
    depth: int
    keys: Mapping[SplitName, tuple[PrefixKey, ...]]

    def key(self, split: SplitName) -> PrefixKey:
        """Return the name of the activation that enters the lowest trainable slot."""
        return self.keys[split][self.depth]

    @property
    def is_worth_keeping(self) -> bool:
        """Whether its activations are dear enough to be kept: at least one block computes them."""
        return self.is_worth_keeping_at(self.depth)

    def contains(self, other: Prefix) -> bool:
        """Return whether another prefix is a part of this one, and not all of it."""
        return other.depth < self.depth and other.key("train") in self.keys["train"]

    def is_worth_keeping_at(self, depth: int) -> bool:
        """Return whether the activations after some of its slots are dear enough to be kept."""
        return any(slot.kind == "block" for slot in self.chain.slots[:depth])

    def run(
        self, batch: Batch, activation: torch.Tensor | None = None, start: int = 0, stop: int | None = None
    ) -> torch.Tensor:
        """Return the activation after some of the frozen slots; no graph is recorded.

        Args:
            batch: The images.
            activation: What enters slot ``start``; the batch's images where there is none.
            start: First slot that computes.
            stop: First slot that does not compute any more; the lowest trainable one by default.
        """
        with torch.no_grad(), batch.reader.compute.arithmetic():
            entering = batch.inputs if activation is None else activation
            return self.chain.forward_range(entering, start, self.depth if stop is None else stop)


def make_prefix(chain: Chain, frozen: Sequence[tuple[str, Digest]], readers: Mapping[SplitName, SplitReader]) -> Prefix:
    """Return the frozen prefix of a network.

    Args:
        chain: The network, with its trainable slots set.
        frozen: Slot names and digests of the frozen slots at its bottom, in order.
        readers: The splits that the network reads.
    """
    computed = [(chain.computed_as(index), digest) for index, (_, digest) in enumerate(frozen)]
    keys = {name: tuple(prefix_keys(reader.canonical(), computed)) for name, reader in readers.items()}
    return Prefix(chain, len(frozen), keys)


class Prefixes:
    """Provides the activations that enter the lowest trainable slots.

    Whatever was kept, an activation has the bits that ``prefix.run(batch)`` gives: inputs of one shape give every image
    the same bits in whatever batch it is. Children should ask in ascending order of depth.

    Args:
        cache: Where activations of inputs that come again are kept; ``None`` to keep none beyond a batch.
        rounding: Whether what enters trainable slots is rounded.
    """

    def __init__(self, cache: ActivationCache | None = None, rounding: Rounding = "exact") -> None:
        self._cache, self._rounding = cache, rounding
        self._batch: Batch | None = None
        self._known: dict[PrefixKey, torch.Tensor] = {}
        self._given: dict[PrefixKey, torch.Tensor] = {}
        self._nodes: set[PrefixKey] = set()
        self._keeps_nodes = False
        self._files: dict[str, ActivationFile | None] = {}
        self._refused: set[str] = set()
        self.batches_read = 0
        self.slots_run = 0

    def plan(self, prefixes: Sequence[Prefix], *, keeps_shared: bool = False) -> None:
        """Learn which prefixes will be asked for, so that what they share is kept within a batch.

        Args:
            prefixes: The prefixes of all children that see the same batches.
            keeps_shared: Whether the activations where prefixes part are kept beyond a batch too, for children to come
                that train from there; the ends of the prefixes always are.
        """
        self._keeps_nodes = keeps_shared and self._rounding == "exact"
        self._nodes = {key for prefix in prefixes for key in _ends(prefix)}
        for one, other in combinations(prefixes, 2):
            for split, keys in one.keys.items():
                common = [mine for mine, its in zip(keys, other.keys[split], strict=False) if mine == its]
                self._nodes.update(common[-1:])

    def activation(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """Return the activation behind ``prefix`` for a batch, on its device, without a graph.

        Args:
            prefix: The frozen slots of one child.
            batch: The images; padding included. ``batch.inputs`` are not touched where the activation was kept.
        """
        if batch is not self._batch:
            self._batch, self._known, self._given = batch, {}, {}
        key = prefix.key(batch.reader.name)
        if key not in self._given:
            self._given[key] = self._provide(prefix, batch)
        return self._given[key]

    def _provide(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """Read or compute the activation behind a prefix; keep what is computed."""
        if not prefix.is_worth_keeping:
            return self._compute(prefix, batch)
        key = prefix.key(batch.reader.name)
        file = self._file(key, batch)
        found = file.read(batch.rows) if file is not None and batch.rows is not None else None
        if found is not None:
            self.batches_read += 1
            found = found.to(batch.reader.compute.device)
            if self._rounding == "exact":
                self._known[key] = found
        else:
            found = self._compute(prefix, batch)
            found = found if self._rounding == "exact" else found.bfloat16()
            self._keep(key, batch, file, found)
        return found if self._rounding == "exact" else found.float()

    def missing(self, prefix: Prefix, reader: SplitReader, indices: Int64Array, batch_size: int) -> int | None:
        """Return how many of some images have no activation that is kept; ``None`` where none ever is.

        Args:
            prefix: The frozen slots of one child.
            reader: The split.
            indices: Which images, shape ``[images]``.
            batch_size: Images of the batches that will ask.
        """
        if self._cache is None or not reader.is_repeatable or not prefix.is_worth_keeping:
            return None
        views = np.arange(reader.num_views)[:, None] * len(reader.split)
        rows = (views + indices[None, :]).reshape(-1)
        file = self._find(prefix.key(reader.name), batch_size)
        return len(rows) - (file.known(rows) if file is not None else 0)

    def _compute(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """Run the slots that were not run yet for this batch, from the deepest activation that is there."""
        keys = prefix.keys[batch.reader.name]
        start, activation = self._start(prefix, batch)
        for stop in range(start + 1, prefix.depth + 1):
            if keys[stop] in self._nodes or stop == prefix.depth:
                activation = prefix.run(batch, activation, start, stop)
                self.slots_run += stop - start
                self._known[keys[stop]] = activation
                start = stop
                if self._keeps_nodes and stop < prefix.depth and prefix.is_worth_keeping_at(stop):
                    self._keep(keys[stop], batch, self._file(keys[stop], batch), activation)
        if activation is None:
            activation = self._known[keys[0]] = batch.inputs
        return activation

    def _start(self, prefix: Prefix, batch: Batch) -> tuple[int, torch.Tensor | None]:
        """Return the depth from which a prefix can be computed, and the activation there."""
        keys = prefix.keys[batch.reader.name]
        for depth in range(prefix.depth, 0, -1):
            if keys[depth] in self._known:
                return depth, self._known[keys[depth]]
            file = self._file(keys[depth], batch) if depth < prefix.depth and self._rounding == "exact" else None
            found = file.read(batch.rows) if file is not None and batch.rows is not None else None
            if found is not None:
                self._known[keys[depth]] = found.to(batch.reader.compute.device)
                return depth, self._known[keys[depth]]
        return 0, None

    def _file(self, key: PrefixKey, batch: Batch) -> ActivationFile | None:
        if self._cache is None or batch.rows is None:
            return None
        return self._find(key, len(batch.indices))

    def _find(self, key: PrefixKey, batch_size: int) -> ActivationFile | None:
        """Return the file of a prefix for one shape of batches, if there is one."""
        name = self._name(key, batch_size)
        if name not in self._files and self._cache is not None:
            self._files[name] = self._cache.find(name)
        return self._files.get(name)

    def _name(self, key: PrefixKey, batch_size: int) -> PrefixKey:
        """Return the name of a file: bits belong to one shape of batches and one rounding."""
        return PrefixKey(hashlib.sha256(f"{key}|{batch_size}|{self._rounding}".encode()).hexdigest())

    def _keep(self, key: PrefixKey, batch: Batch, file: ActivationFile | None, activation: torch.Tensor) -> None:
        """Keep the activation behind some slots, where its inputs come again."""
        if self._cache is None or batch.rows is None:
            return
        name = self._name(key, len(batch.indices))
        if file is None and name not in self._refused:
            rows = len(batch.reader.split) * batch.reader.num_views
            file = self._files[name] = self._cache.open(name, rows, Layout.of(activation))
            if file is None:
                self._refused.add(name)
        if file is not None:
            file.write(batch.rows, activation)


def _ends(prefix: Prefix) -> list[PrefixKey]:
    return [keys[prefix.depth] for keys in prefix.keys.values()]
