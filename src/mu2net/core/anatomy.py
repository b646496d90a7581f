"""The shape of a root network as evolution sees it: which slots there are, and what may change."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mu2net.core.component import Slot


def block_slot(index: int) -> Slot:
    """Return the slot of encoder block ``index`` (0 is next to the image)."""
    return Slot(f"block_{index:02d}", "block")


def block_index(slot: Slot) -> int:
    """Return the index of an encoder block's slot, the reverse of ``block_slot``."""
    return int(slot.name.removeprefix("block_"))


def adapter_slot(index: int) -> Slot:
    """Return the slot of the residual adapter directly before block ``index``."""
    return Slot(f"adapter_{index:02d}", "adapter")


HEAD = Slot("head", "head")
"""The slot of a task's own classifier; it ends every chain and is never shared between tasks."""


@dataclass(frozen=True)
class Anatomy:
    """The slots of a backbone and the freedom that evolution has with them.

    Args:
        backbone: Name of the backbone family, for instance ``"vit"``.
        stem: Slots before the first block.
        depth: Number of blocks of the root.
        tail: Pretrained slots after the last block; ``head`` follows and is not listed.
        image_size: Default side of the square input, in pixels.
        image_sizes: All sides that the backbone supports, ascending.
        num_params: Parameters of one full copy of the root (without a head), the reference of the size penalty.
        flops: FLOPs of one forward pass of the root without a head, batch 1, at ``image_size``; the
            reference of the compute penalty.
        min_layers: Smallest legal ``num_layers``; equals ``depth`` where blocks cannot be dropped.
        has_adapters: Whether residual adapters can be put before blocks.
        has_patches: Whether blocks compute tokens of patches, of which training can drop some.
        forced_clones: Names of slots that every mutated child trains its own copy of.
        sized_slots: Names of slots whose parameters depend on the input size.
        block_flops: The part of ``flops`` that every block takes, by index; empty where it is not known.
    """

    backbone: str
    stem: tuple[Slot, ...]
    depth: int
    tail: tuple[Slot, ...]
    image_size: int
    image_sizes: tuple[int, ...]
    num_params: int
    flops: int
    min_layers: int = 1
    has_adapters: bool = True
    has_patches: bool = True
    forced_clones: frozenset[str] = frozenset({"norm"})
    sized_slots: frozenset[str] = frozenset({"tokens"})
    block_flops: tuple[int, ...] = ()

    def image_size_of(self, hparams: Mapping[str, Any]) -> int:
        """Return the input side of a path in pixels; the root's where its hyperparameters do not say."""
        return int(hparams.get("ds_image_size", self.image_size))

    def share_of(self, slot: Slot) -> float:
        """Return what a slot's forward pass costs, in those of an average block; 0 for what is no block of the root.

        Where the blocks' FLOPs are not known, all cost 1.

        Args:
            slot: A slot of a path.
        """
        if slot.kind != "block":
            return 0.0
        if not self.block_flops:
            return 1.0
        return self.block_flops[block_index(slot)] * len(self.block_flops) / sum(self.block_flops)

    def slots(self, num_layers: int, adapters: Collection[int] = ()) -> tuple[Slot, ...]:
        """Return the chain of slots for a number of blocks and a set of adapters, ``head`` last.

        Args:
            num_layers: Number of blocks, ``min_layers`` … ``depth``.
            adapters: Indices of the blocks that have an adapter directly before them.

        Raises:
            ValueError: ``num_layers`` or an adapter lies outside the network.
        """
        if not self.min_layers <= num_layers <= self.depth:
            raise ValueError(f"num_layers is {num_layers}; expected {self.min_layers} to {self.depth}")
        if adapters and not self.has_adapters:
            raise ValueError(f"backbone {self.backbone!r} takes no adapters")
        if any(not 0 <= index < num_layers for index in adapters):
            raise ValueError(f"adapters {sorted(adapters)} do not fit {num_layers} blocks")
        chain = list(self.stem)
        for index in range(num_layers):
            if index in adapters:
                chain.append(adapter_slot(index))
            chain.append(block_slot(index))
        return (*chain, *self.tail, HEAD)
