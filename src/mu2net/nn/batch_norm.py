"""Batch norms that use stored statistics."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

BATCH_NORM_EPS = 1e-3
"""Epsilon of all batch norms, as in the published weights."""


class FrozenBatchNorm(nn.Module):
    """Batch norm that always uses its stored statistics: buffers, while scale and bias are parameters.

    Args:
        channels: Number of channels.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, device="meta"))
        self.bias = nn.Parameter(torch.empty(channels, device="meta"))
        self.register_buffer("running_mean", torch.empty(channels, device="meta"))
        self.register_buffer("running_var", torch.empty(channels, device="meta"))

    def affine(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the factor and the shift of every channel, each of shape ``[C]``."""
        scale = self.weight * self._inverse()
        return scale, self.bias - self.running_mean * scale

    def affine_gradients(self, of_factor: torch.Tensor, of_shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of scale and bias, from those of factor and shift; all of shape ``[C]``."""
        return (of_factor - self.running_mean * of_shift) * self._inverse(), of_shift

    def _inverse(self) -> torch.Tensor:
        return torch.rsqrt(self.running_var + BATCH_NORM_EPS)

    @torch.no_grad()
    def measured(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Take the statistics of some feature maps for its own, and return the maps normalised with them."""
        variance, mean = torch.var_mean(maps_BCHW, dim=(0, 2, 3))
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)
        normalised: torch.Tensor = self(maps_BCHW)
        return normalised

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the normalised feature maps."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(maps_BCHW, *statistics, self.weight, self.bias, training=False, eps=BATCH_NORM_EPS)
