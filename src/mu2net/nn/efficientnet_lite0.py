"""EfficientNet-Lite0 as a backbone: stem, 16 blocks, last convolution, and a task's own classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn

from mu2net.core.anatomy import Anatomy, block_slot
from mu2net.core.component import Slot
from mu2net.errors import RootError
from mu2net.nn.assign import assign, shape_of
from mu2net.nn.backbone import Normalisation, Tensors
from mu2net.nn.convolution import ConvHead, InvertedResidual, Stem
from mu2net.nn.vit_slots import Head

NAME = "efficientnet-lite0"
STEM = Slot("stem", "stem")
CONV_HEAD = Slot("conv_head", "conv_head")
FEATURES = 1280
"""Number of features that a head reads."""

IMAGE_SIZES = tuple(range(32, 225, 32))
"""Supported sides of the square input, in pixels."""


class BlockShape(NamedTuple):
    """Geometry of one block: channels, side of the depthwise kernel, stride and factor of the expansion."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int


def _block_shapes() -> tuple[BlockShape, ...]:
    stages = (
        (1, 16, 3, 1),
        (2, 24, 3, 2),
        (2, 40, 5, 2),
        (3, 80, 3, 2),
        (3, 112, 5, 1),
        (4, 192, 5, 2),
        (1, 320, 3, 1),
    )
    shapes: list[BlockShape] = []
    inputs = 32
    for repeats, outputs, kernel, stride in stages:
        for repeat in range(repeats):
            expansion = 6 if shapes else 1
            shapes.append(BlockShape(inputs, outputs, kernel, 1 if repeat else stride, expansion))
            inputs = outputs
    return tuple(shapes)


BLOCKS = _block_shapes()
"""Geometry of the 16 blocks (arXiv 1905.11946, table 1, without squeeze-excitation)."""


@dataclass(frozen=True)
class EfficientNetLite0:
    """EfficientNet-Lite0: ``stem``, ``block_00`` … ``block_15``, ``conv_head``, ``head``; 3.4 million parameters.

    Blocks cannot be dropped and take no adapters. Batch norms use stored statistics, which training never updates: the
    pretrained ones, or those that a child measured on its task before it trained. Their scales and biases train with
    their slot. There is no drop-connect.

    Args:
        image_size: Default side of the square input, in pixels. The network was pretrained at 224; 96 is the default
            because it costs a CPU less than a fifth of that.

    Raises:
        RootError: ``image_size`` is not supported.
    """

    image_size: int = 96

    def __post_init__(self) -> None:
        if self.image_size not in IMAGE_SIZES:
            near = sorted(sorted(IMAGE_SIZES, key=lambda size: abs(size - self.image_size))[:2])
            raise RootError(
                f"{NAME}: image size {self.image_size} is not one of {list(IMAGE_SIZES)}; "
                f"the nearest legal sizes are {near[0]} and {near[1]}"
            )

    @property
    def normalisation(self) -> Normalisation:
        """How images are normalised."""
        return Normalisation((127.0,) * 3, (128.0,) * 3)

    @property
    def is_convolutional(self) -> bool:
        """Whether activations are images: yes."""
        return True

    def attention_shape(self, image_size: int) -> None:  # noqa: ARG002 - part of the contract
        """Return that there is no attention."""
        return

    @cached_property
    def anatomy(self) -> Anatomy:
        """The slots, and what evolution may change about them."""
        parameters = (p for slot in PRETRAINED_SLOTS for p in self._blank(slot, {}, NAME).parameters())
        return Anatomy(
            backbone=NAME,
            stem=(STEM,),
            depth=len(BLOCKS),
            tail=(CONV_HEAD,),
            image_size=self.image_size,
            image_sizes=IMAGE_SIZES,
            num_params=sum(parameter.numel() for parameter in parameters),
            flops=self._stem_flops() + sum(self._block_flops()) + self._tail_flops(),
            block_flops=self._block_flops(),
            min_layers=len(BLOCKS),
            has_adapters=False,
            has_patches=False,
            forced_clones=frozenset(),
            sized_slots=frozenset(),
        )

    def _stem_flops(self) -> int:
        """Return what ``count_flops`` counts for the stem, in closed form."""
        return 2 * (self.image_size // 2) ** 2 * 3 * 9 * BLOCKS[0].inputs

    def _block_flops(self) -> tuple[int, ...]:
        """Return what ``count_flops`` counts for every block, in closed form."""
        side, counts = self.image_size // 2, []
        for inputs, outputs, kernel, stride, expansion in BLOCKS:
            inner = inputs * expansion
            widening = side**2 * inputs * inner if expansion != 1 else 0
            side //= stride
            counts.append(2 * (widening + side**2 * inner * (kernel**2 + outputs)))
        return tuple(counts)

    def _tail_flops(self) -> int:
        """Return what ``count_flops`` counts for the slot after the last block, in closed form."""
        side = self.image_size // 2
        for block in BLOCKS:
            side //= block.stride
        return 2 * side**2 * BLOCKS[-1].outputs * FEATURES

    def config(self) -> dict[str, Any]:
        """Return JSON values from which ``backbone_from_config`` makes an equal backbone."""
        return {"backbone": NAME, "image_size": self.image_size}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EfficientNetLite0:
        """Return the backbone that ``config`` describes.

        Args:
            config: What ``config()`` returned.

        Raises:
            RootError: It is not such a description.
        """
        if set(config) != {"backbone", "image_size"}:
            raise RootError(f"{NAME}: configuration {dict(config)} is not complete; expected 'image_size' alone")
        if not isinstance(config["image_size"], int):
            raise RootError(f"{NAME}: image size {config['image_size']!r} is no integer")
        return cls(config["image_size"])

    def module(self, slot: Slot, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the module of a slot that uses ``tensors`` themselves as parameters and buffers (no copy).

        Raises:
            RootError: The tensors do not fit the slot.
        """
        owner = f"slot {slot.name!r} of {NAME}"
        return assign(self._blank(slot, tensors, owner), tensors, owner)

    def _blank(self, slot: Slot, tensors: Mapping[str, torch.Tensor], owner: str) -> nn.Module:
        if slot == STEM:
            return Stem(BLOCKS[0].inputs)
        if slot == CONV_HEAD:
            return ConvHead(BLOCKS[-1].outputs, FEATURES)
        if slot.kind == "head":
            return Head(FEATURES, shape_of(tensors, "weight", owner)[0], from_tokens=False)
        if slot in PRETRAINED_SLOTS:
            return InvertedResidual(*BLOCKS[PRETRAINED_SLOTS.index(slot) - 1])
        raise RootError(f"slot {slot.name!r} of kind {slot.kind!r} does not exist in {NAME}")

    def fresh(self, slot: Slot, seed: int, *, num_classes: int = 0, adapter_dim: int = 0) -> Tensors:  # noqa: ARG002
        """Return a new head, which is zero.

        Args:
            slot: The slot ``head``.
            seed: Not used: nothing is random.
            num_classes: Number of classes.
            adapter_dim: Not used: there are no adapters.

        Raises:
            ValueError: Another slot than a head, or ``num_classes`` is missing.
        """
        if slot.kind != "head":
            raise ValueError(f"slot {slot.name!r} of {NAME} is always pretrained; only heads can be fresh")
        if num_classes < 1:
            raise ValueError(f"a fresh head needs num_classes; got {num_classes}")
        return {"weight": torch.zeros(num_classes, FEATURES), "bias": torch.zeros(num_classes)}

    def resample(self, slot: Slot, tensors: Mapping[str, torch.Tensor], image_size: int) -> Tensors:  # noqa: ARG002
        """Raise an error: no slot depends on the input size.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"slot {slot.name!r} of {NAME} does not depend on the input size")


PRETRAINED_SLOTS = (STEM, *(block_slot(index) for index in range(len(BLOCKS))), CONV_HEAD)
"""The 18 slots of the root, in the order of computation."""

_PACKAGE_PARTS = {
    "_expand_conv": "expand",
    "_bn0": "expand_bn",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_bn",
    "_project_conv": "project",
    "_bn2": "project_bn",
}
_PACKAGE_SLOTS = {
    "_conv_stem": (STEM, "conv"),
    "_bn0": (STEM, "bn"),
    "_conv_head": (CONV_HEAD, "conv"),
    "_bn1": (CONV_HEAD, "bn"),
}


def split_checkpoint(state: Mapping[str, torch.Tensor]) -> list[tuple[Slot, Tensors]]:
    """Return the components of a state dict with the names of ``efficientnet-lite-pytorch``.

    The classifier and the counters of batch norms are left out.

    Args:
        state: Tensors by name.

    Raises:
        RootError: A name is not one of EfficientNet-Lite's, or tensors do not fit.
    """
    components: dict[Slot, Tensors] = {slot: {} for slot in PRETRAINED_SLOTS}
    for name, tensor in state.items():
        if name.startswith("_fc.") or name.endswith(".num_batches_tracked"):
            continue
        slot, local = _local_name(name)
        components[slot][local] = tensor.float().contiguous()
    backbone = EfficientNetLite0()
    for slot, tensors in components.items():
        backbone.module(slot, tensors)
    return list(components.items())


def _local_name(name: str) -> tuple[Slot, str]:
    match name.split("."):
        case ["_blocks", index, part, leaf] if part in _PACKAGE_PARTS and index.isdigit():
            if int(index) < len(BLOCKS):
                return block_slot(int(index)), f"{_PACKAGE_PARTS[part]}.{leaf}"
        case [part, leaf] if part in _PACKAGE_SLOTS:
            slot, local = _PACKAGE_SLOTS[part]
            return slot, f"{local}.{leaf}"
    raise RootError(f"{NAME}: tensor {name!r} does not belong to the network")
