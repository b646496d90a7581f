"""Where a network runs and in which arithmetic: equal for training, validation and prediction of one path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from mu2net.nn.attention import AttentionKernel, choose_kernel, use_kernel
from mu2net.nn.backbone import Backbone, Normalisation
from mu2net.nn.machine import describe_machine
from mu2net.nn.precision import Precision, activation_dtype, autocast
from mu2net.train.augment import normalise


@dataclass(frozen=True)
class Compute:
    """Device, arithmetic and input format of a network.

    Args:
        device: Where tensors live.
        precision: Arithmetic of the activations; parameters are float32 always.
        attention: How attention is computed; a network without any does not read it.
        normalisation: Mean and standard deviation of the input, per channel.
        is_channels_last: Whether images lie channels-last in memory.
    """

    device: torch.device
    precision: Precision
    attention: AttentionKernel
    normalisation: Normalisation
    is_channels_last: bool = False

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        device: torch.device,
        precision: Precision,
        attention: AttentionKernel | None = None,
    ) -> Compute:
        """Return how the networks of a backbone run on a device.

        Args:
            backbone: Gives the normalisation and the memory layout.
            device: Where to run.
            precision: Arithmetic of the activations.
            attention: How attention is computed; ``None`` for the fixed rule, ``choose_kernel``.
        """
        kernel = attention or choose_kernel(device, activation_dtype(precision))
        return cls(device, precision, kernel, backbone.normalisation, backbone.is_convolutional)

    def in_float32(self) -> Compute:
        """Return the arithmetic that is the same on every machine: float32, and attention by the fixed rule."""
        return replace(self, precision="float32", attention=choose_kernel(self.device, torch.float32))

    def inputs(self, images: torch.Tensor) -> torch.Tensor:
        """Return uint8 images ``[B, S, S, 3]`` as the network's float32 input ``[B, 3, S, S]`` on the device."""
        return normalise(images.to(self.device), self.normalisation, is_channels_last=self.is_channels_last)

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Run the block in this arithmetic."""
        with autocast(self.device, self.precision), use_kernel(self.attention):
            yield

    def canonical(self) -> str:
        """Return a string that differs where the bits of activations may differ, also between processes and machines.

        It names the number of threads that this process uses per operation now.
        """
        description = {
            **describe_machine(self.device),
            "threads": torch.get_num_threads(),
            "precision": self.precision,
            "attention": self.attention,
            "mean": self.normalisation.mean,
            "std": self.normalisation.std,
            "channels_last": self.is_channels_last,
        }
        return json.dumps(description, sort_keys=True, separators=(",", ":"))


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Run the block with a number of threads per operation, and put the old number back.

    Args:
        threads: Number of threads; ``None`` leaves it as it is. Results are bit-identical for equal numbers only.
    """
    before = torch.get_num_threads()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
