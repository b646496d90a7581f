"""New parameters from seeds, the same on every machine that draws the same numbers."""

from __future__ import annotations

import torch
from torch import nn

WEIGHT_STD = 0.02
"""Standard deviation of new weights in transformers, cut off at ±2 (arXiv 2010.11929 and its implementations)."""


def torch_generator(seed: int) -> torch.Generator:
    """Return a CPU generator for a seed of any size.

    Args:
        seed: Any integer; the lowest 63 bits count.
    """
    return torch.Generator().manual_seed(seed % 2**63)


def truncated_normal(shape: tuple[int, ...], generator: torch.Generator, std: float = WEIGHT_STD) -> torch.Tensor:
    """Return a float32 tensor from a normal distribution that is cut off at ±2.

    Args:
        shape: Shape of the tensor.
        generator: Source of the randomness.
        std: Standard deviation before the cut.
    """
    return nn.init.trunc_normal_(torch.empty(shape), std=std, generator=generator)
