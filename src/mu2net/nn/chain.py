"""A path as a module: slots that compute one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from mu2net.core.component import Slot
from mu2net.errors import UnknownNameError
from mu2net.nn.assign import read
from mu2net.nn.backbone import Backbone, Tensors
from mu2net.nn.vit_slots import Head, Tokens

_ONLY_CLASS = ":class_token"
"""Ends the name of what is computed where a block computes the class token alone."""


@runtime_checkable
class Measuring(Protocol):
    """A slot's module whose batch norms can take their statistics from what passes through it."""

    def measure_statistics(self, activation: torch.Tensor) -> torch.Tensor:
        """Use the statistics of this activation from here on; return the slot's own activation."""
        ...


class Chain(nn.Module):
    """Slots in the order of computation, each with the module that fills it.

    Training and evaluation mode compute the same. Parameters of slots that do not train have ``requires_grad`` off, so
    autograd records nothing below the lowest slot that trains.

    Where the head reads the class token alone, the last encoder block computes nothing else: activations from there on
    are ``[batch, 1, width]``. The same block with another block above it computes all tokens; ``computed_as`` tells
    the two apart.

    Args:
        slots: Slots and their modules, in the order of computation.
        channels_last: Whether images and feature maps are laid out channels-last.
    """

    def __init__(self, slots: Sequence[tuple[Slot, nn.Module]], *, channels_last: bool = False) -> None:
        super().__init__()
        self.slots = tuple(slot for slot, _ in slots)
        self.channels_last = channels_last
        self.parts = nn.ModuleDict({slot.name: module for slot, module in slots})
        if len(self.parts) != len(self.slots):
            raise ValueError(f"slots {[slot.name for slot in self.slots]} are not unique")
        last = slots[-1][1] if slots else None
        self._class_token_block = class_token_block(
            self.slots, head_reads_tokens=isinstance(last, Head) and last.from_tokens
        )

    def __len__(self) -> int:
        return len(self.slots)

    def index(self, name: str) -> int:
        """Return the place of a slot in the chain, 0 next to the image.

        Raises:
            UnknownNameError: The chain has no such slot.
        """
        names = [slot.name for slot in self.slots]
        if name not in names:
            raise UnknownNameError("slot", name, names)
        return names.index(name)

    def part(self, name: str) -> nn.Module:
        """Return the module of a slot.

        Raises:
            UnknownNameError: The chain has no such slot.
        """
        return self.parts[self.slots[self.index(name)].name]

    def computed_as(self, index: int) -> str:
        """Return what is computed in a slot: its name, with ``:class_token`` where the class token alone is computed.

        Two chains that have equal components, and compute them as the same, up to some slot have the same activation
        after it; the names of the slots would not be enough.

        Args:
            index: Place of the slot, 0 next to the image.

        Raises:
            IndexError: The chain has no such place.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"slot {index} does not exist in a chain of {len(self)}")
        return name_computation(self.slots[index], is_class_token_block=index == self._class_token_block)

    def tokens_from(self, start: int) -> int:
        """Return how many tokens of an image the slots from ``start`` on compute.

        Args:
            start: First slot that computes, counted from 0.

        Returns:
            All tokens of an image, the class token included; 0 where the class token alone is computed, and in networks
            without tokens.
        """
        tokens = [part for part in self.parts.values() if isinstance(part, Tokens)]
        stop = len(self) if self._class_token_block is None else self._class_token_block
        return tokens[0].pos_embed.shape[1] if tokens and start < stop else 0

    def patches_from(self, start: int) -> int | None:
        """Return the first slot from ``start`` on that takes all tokens of an image, with their positions.

        Args:
            start: First slot that computes, counted from 0.

        Returns:
            Its place; ``None`` where the class token alone enters, and in networks without tokens.
        """
        places = [index for index, slot in enumerate(self.slots) if isinstance(self.parts[slot.name], Tokens)]
        if not places:
            return None
        first = max(start, places[0] + 1)
        last = len(self) - 1 if self._class_token_block is None else self._class_token_block
        return first if first <= last else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the last slot computes; logits, shape ``[batch, classes]``, where it is a head.

        Args:
            images: Normalised images, shape ``[batch, 3, side, side]``.
        """
        return self.forward_range(images)

    def forward_range(self, activation: torch.Tensor, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Return the activation after slot ``stop - 1``, from the one that enters slot ``start``.

        ``forward_range(forward_range(x, 0, i), i)`` equals ``forward(x)`` for every i: a caller may keep
        the activation after any slot and resume from it.

        Args:
            activation: What enters slot ``start``; normalised images for slot 0.
            start: First slot that computes, counted from 0.
            stop: First slot that does not compute any more; the end of the chain by default.

        Raises:
            ValueError: The range lies outside the chain.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"slots {start} to {stop} are no range of a chain of {len(self)}")
        if self.channels_last and activation.dim() == 4:
            activation = activation.contiguous(memory_format=torch.channels_last)
        for index in range(start, stop):
            activation = run_slot(self.parts[self.slots[index].name], activation, self.computed_as(index))
        return activation

    @torch.no_grad()
    def measure_statistics(self, activation: torch.Tensor, start: int = 0) -> None:
        """Let the batch norms of all slots that train use the statistics of some activations, slot after slot.

        Slots without batch norms, and frozen ones, stay as they are. Everything is computed in float32, whatever the
        arithmetic in which the slots will train.

        Args:
            activation: What enters slot ``start``, for as many images as the statistics shall be of.
            start: A slot that is not above the first that trains, counted from 0.
        """
        measured, activation = self.measured, activation.float()
        for index in range(start, self.index(measured[-1].name) + 1 if measured else start):
            slot = self.slots[index]
            part = self.parts[slot.name]
            if slot in measured and isinstance(part, Measuring):
                activation = part.measure_statistics(activation)
            else:
                activation = self.forward_range(activation, index, index + 1)

    @property
    def measured(self) -> tuple[Slot, ...]:
        """The slots that train and have batch norms, in the order of computation."""
        return tuple(slot for slot in self.trainable if isinstance(self.parts[slot.name], Measuring))

    def set_trainable(self, names: Collection[str]) -> None:
        """Let exactly these slots train; all other parameters are frozen, and statistics always are.

        Args:
            names: Names of slots.

        Raises:
            UnknownNameError: The chain has no such slot; nothing was changed.
        """
        trainable = {self.index(name) for name in names}
        for index, slot in enumerate(self.slots):
            self.parts[slot.name].requires_grad_(index in trainable)

    @property
    def trainable(self) -> tuple[Slot, ...]:
        """The slots that train, in the order of computation."""
        return tuple(slot for slot in self.slots if any(p.requires_grad for p in self.parts[slot.name].parameters()))

    @property
    def frozen_prefix(self) -> int:
        """Number of slots before the first that trains; the activation after them is fixed while it trains."""
        trainable = self.trainable
        return self.index(trainable[0].name) if trainable else len(self)

    def tensors(self, name: str) -> Tensors:
        """Return copies of a slot's parameters and buffers: contiguous, float32, on the CPU.

        Raises:
            UnknownNameError: The chain has no such slot.
        """
        return read(self.part(name))


def run_slot(module: nn.Module, activation: torch.Tensor, computed_as: str) -> torch.Tensor:
    """Return the activation after a slot.

    Args:
        module: What fills it.
        activation: What enters it.
        computed_as: What is computed there, see ``Chain.computed_as``.
    """
    options = {"class_token_only": True} if computed_as.endswith(_ONLY_CLASS) else {}
    leaving: torch.Tensor = module(activation, **options)
    return leaving


def class_token_block(slots: Sequence[Slot], *, head_reads_tokens: bool) -> int | None:
    """Return the place of the block after which only the class token is read; ``None`` where there is none.

    A LayerNorm works on every token by itself, so what reads the class token behind it reads the class token before it.

    Args:
        slots: The slots in the order of computation.
        head_reads_tokens: Whether a head at their end reads the class token of all tokens.
    """
    if not slots or slots[-1].kind != "head" or not head_reads_tokens:
        return None
    index = len(slots) - 2
    while index >= 0 and slots[index].kind == "norm":
        index -= 1
    return index if index >= 0 and slots[index].kind == "block" else None


def name_computation(slot: Slot, *, is_class_token_block: bool) -> str:
    """Return what is computed in a slot, see ``Chain.computed_as``."""
    return slot.name + _ONLY_CLASS if is_class_token_block else slot.name


def build_chain(
    backbone: Backbone, components: Iterable[tuple[Slot, Mapping[str, torch.Tensor]]], *, copy: bool = False
) -> Chain:
    """Return the chain of some components; its parameters are the components' tensors themselves.

    Args:
        backbone: What the slots compute.
        components: Slots and their tensors, in the order of computation.
        copy: Whether the parameters are copies instead, needed for slots that train.

    Raises:
        RootError: Tensors do not fit their slot.
    """
    modules = []
    for slot, tensors in components:
        own = {name: tensor.clone() for name, tensor in tensors.items()} if copy else tensors
        modules.append((slot, backbone.module(slot, own)))
    return Chain(modules, channels_last=backbone.is_convolutional)
