"""The contract between a family of networks and everything that trains, stores or serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from mu2net.core.anatomy import Anatomy
from mu2net.core.component import Slot
from mu2net.nn.attention import AttentionShape

Tensors = dict[str, torch.Tensor]
"""What a component holds: contiguous float32 CPU tensors by local name (``"attn.qkv.weight"``), buffers included."""


@dataclass(frozen=True)
class Normalisation:
    """How RGB values in [0, 255] become the network's input: ``(rgb - mean) / std``, per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@runtime_checkable
class Backbone(Protocol):
    """A family of networks that can be cut into a chain of slots.

    Every slot's module maps the activation of the one before it; the first takes normalised images of shape
    ``[batch, 3, side, side]`` and the last, ``head``, returns logits of shape ``[batch, classes]``.
    """

    @property
    def anatomy(self) -> Anatomy:
        """The slots, and what evolution may change about them."""
        ...

    @property
    def normalisation(self) -> Normalisation:
        """How images are normalised."""
        ...

    @property
    def is_convolutional(self) -> bool:
        """Whether activations are images that run fastest channels-last."""
        ...

    def attention_shape(self, image_size: int) -> AttentionShape | None:
        """Return the shape of the attention for an input size; ``None`` where there is no attention.

        Args:
            image_size: Side of the square input, in pixels.
        """
        ...

    def config(self) -> dict[str, Any]:
        """Return JSON values from which ``backbone_from_config`` makes an equal backbone."""
        ...

    def module(self, slot: Slot, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the module of a slot that uses ``tensors`` themselves as parameters and buffers (no copy).

        The names of the module's parameters and buffers are exactly the keys of ``tensors``.
        Parameters come back with ``requires_grad`` off; batch-norm statistics are buffers that training never updates.

        Raises:
            RootError: The tensors do not fit the slot.
        """
        ...

    def fresh(self, slot: Slot, seed: int, *, num_classes: int = 0, adapter_dim: int = 0) -> Tensors:
        """Return new parameters for a slot.

        A head is zero; an adapter and a block are the identity (their residual branches end in zeros).

        Args:
            slot: The slot.
            seed: Seed of the random parameters.
            num_classes: Number of classes, for ``head``.
            adapter_dim: Inner size, for adapters.
        """
        ...

    def resample(self, slot: Slot, tensors: Mapping[str, torch.Tensor], image_size: int) -> Tensors:
        """Return the parameters of a slot of ``anatomy.sized_slots`` fitted to another input size.

        Args:
            slot: The slot.
            tensors: Its parameters at their own input size.
            image_size: Side of the square input, in pixels.
        """
        ...
