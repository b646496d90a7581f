"""The computations in the slots of EfficientNet-Lite (arXiv 1905.11946, without squeeze-excitation).

All modules are built on the meta device; ``assign`` gives them their tensors. Feature maps are ``[B, C, H, W]``, and
fastest channels-last.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

BATCH_NORM_EPS = 1e-3
"""Epsilon of all batch norms, as in the published weights."""


class SameConv2d(nn.Conv2d):
    """Convolution without bias and with TensorFlow's padding ``SAME``: the output has side ⌈side / stride⌉.

    The padding depends on the size of the input, and an odd one is put on the right and at the bottom.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the kernel.
        stride: Stride.
        groups: Groups of channels; ``inputs`` for a depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False, device="meta")

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Conv2d
        """Return the feature maps."""
        top, bottom = self._padding(input.shape[-2])
        left, right = self._padding(input.shape[-1])
        if top == bottom and left == right:
            return F.conv2d(input, self.weight, None, self.stride, (top, left), groups=self.groups)
        padded = F.pad(input, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, None, self.stride, groups=self.groups)

    def _padding(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


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

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the normalised feature maps."""
        statistics = self.running_mean, self.running_var
        return F.batch_norm(maps_BCHW, *statistics, self.weight, self.bias, training=False, eps=BATCH_NORM_EPS)


class Stem(nn.Module):
    """First convolution: ``[B, 3, S, S]`` → ``[B, channels, S/2, S/2]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SameConv2d(3, channels, 3, stride=2)
        self.bn = FrozenBatchNorm(channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the first feature maps."""
        return F.relu6(self.bn(self.conv(images)), inplace=True)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection (arXiv 1801.04381), with a skip where shapes allow it.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        expansion: Factor of the expansion; 1 leaves the expansion out.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.has_skip = stride == 1 and inputs == outputs
        self.has_expansion = expansion != 1
        if self.has_expansion:
            self.expand = SameConv2d(inputs, inner, 1)
            self.expand_bn = FrozenBatchNorm(inner)
        self.depthwise = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.depthwise_bn = FrozenBatchNorm(inner)
        self.project = SameConv2d(inner, outputs, 1)
        self.project_bn = FrozenBatchNorm(outputs)

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the block's feature maps."""
        inner = maps_BCHW
        if self.has_expansion:
            inner = F.relu6(self.expand_bn(self.expand(inner)), inplace=True)
        inner = F.relu6(self.depthwise_bn(self.depthwise(inner)), inplace=True)
        projected: torch.Tensor = self.project_bn(self.project(inner))
        return projected + maps_BCHW if self.has_skip else projected


class ConvHead(nn.Module):
    """Last convolution and global average pooling: ``[B, inputs, H, W]`` → ``[B, features]``."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, features, 1)
        self.bn = FrozenBatchNorm(features)

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the pooled features."""
        return F.relu6(self.bn(self.conv(maps_BCHW)), inplace=True).mean(dim=(2, 3))
