"""The frozen slots below a child's lowest trainable slot, and who provides the activation that leaves them.

Two children with the same prefix key read the same activation there. ``ComputedPrefixes`` uses that within one
batch; a source that keeps activations between batches only has to follow the same protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from mu2net.core.component import Digest, PrefixKey, prefix_keys
from mu2net.nn.chain import Chain
from mu2net.train.batches import Batch, SplitName, SplitReader


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

    def run(self, batch: Batch, activation: torch.Tensor | None = None, start: int = 0) -> torch.Tensor:
        """Return the activation that enters the lowest trainable slot; no graph is recorded.

        Args:
            batch: The images.
            activation: What enters slot ``start``; the batch's images where there is none.
            start: First slot that computes.
        """
        with torch.no_grad(), batch.reader.compute.arithmetic():
            entering = batch.inputs if activation is None else activation
            return self.chain.forward_range(entering, start, self.depth)


def make_prefix(chain: Chain, frozen: Sequence[tuple[str, Digest]], readers: Mapping[SplitName, SplitReader]) -> Prefix:
    """Return the frozen prefix of a network.

    Args:
        chain: The network, with its trainable slots set.
        frozen: Slot names and digests of the frozen slots at its bottom, in order.
        readers: The splits that the network reads.
    """
    keys = {name: tuple(prefix_keys(reader.canonical(), frozen)) for name, reader in readers.items()}
    return Prefix(chain, len(frozen), keys)


class PrefixSource(Protocol):
    """Provides activations that enter the lowest trainable slot: computed, or kept from an earlier batch."""

    def activation(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """Return the activation behind ``prefix`` for a batch, on its device, without a graph.

        It must have the bits that ``prefix.run(batch)`` gives. It may be kept between batches only where
        ``batch.reader.pipeline.is_deterministic``; ``batch.indices`` then say which images it belongs to, and
        ``batch.inputs`` need not be touched.

        Args:
            prefix: The frozen slots of one child.
            batch: The images; padding included.
        """
        ...


class ComputedPrefixes:
    """Computes prefixes, and within one batch every shared part of them once.

    Activations are kept where prefixes end, so a deeper prefix resumes from the deepest one that it contains.
    Children should ask in ascending order of depth.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._known: dict[PrefixKey, torch.Tensor] = {}

    def activation(self, prefix: Prefix, batch: Batch) -> torch.Tensor:
        """Return the activation behind ``prefix``; see ``PrefixSource``."""
        if batch is not self._batch:
            self._batch, self._known = batch, {}
        keys = prefix.keys[batch.reader.name]
        start = next((depth for depth in range(prefix.depth, 0, -1) if keys[depth] in self._known), 0)
        known = self._known.get(keys[start])
        if start < prefix.depth or known is None:
            known = prefix.run(batch, known, start)
            self._known[keys[prefix.depth]] = known
        return known
