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
        return self._convolve(input, self.weight, None)

    def normalised(self, maps_BCHW: torch.Tensor, norm: FrozenBatchNorm) -> torch.Tensor:
        """Return the feature maps after a batch norm, which is folded into the kernel.

        The statistics are constants, so this is the same function, with the same gradients, and spares a pass over the
        maps.
        """
        scale, shift = norm.affine()
        return self._convolve(maps_BCHW, self.weight * scale[:, None, None, None], shift)

    def _convolve(self, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Convolve with the taps that can meet the input, and with symmetric padding.

        Taps that only ever meet padding are left out: at a side of 1, a depthwise kernel is one number per channel.
        Where the padding is odd, the kernel gets a row and a column of zeros, which is cheaper than padding the maps.
        On the meta device, where only operations are counted, the kernel stays as it was published.
        """
        if maps.is_meta:
            return self._convolve_plainly(maps, weight, bias)
        (top, bottom), rows = self._window(maps.shape[-2])
        (left, right), columns = self._window(maps.shape[-1])
        weight = weight[:, :, rows, columns]
        if self.groups == self.in_channels == self.out_channels and weight.shape[-2:] == maps.shape[-2:] == (1, 1):
            product = maps * weight.view(1, -1, 1, 1)
            return product if bias is None else product + bias.view(1, -1, 1, 1)
        if (top, left) != (bottom, right):
            zeros = (max(right - left, 0), max(left - right, 0), max(bottom - top, 0), max(top - bottom, 0))
            weight = F.pad(weight, zeros)
        padding = (max(top, bottom), max(left, right))
        return F.conv2d(maps, weight, bias, self.stride, padding, groups=self.groups)

    def _convolve_plainly(self, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in maps.shape[-2:])
        padded = F.pad(maps, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(padded, weight, bias, self.stride, groups=self.groups)

    def _window(self, side: int) -> tuple[tuple[int, int], slice]:
        """Return the padding before and after a side, and the taps of the kernel that meet the input."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        outputs = -(-side // stride)
        total = max((outputs - 1) * stride + kernel - side, 0)
        before = total // 2
        first = max(0, before - (outputs - 1) * stride)
        last = min(kernel, before + side)
        after = max((outputs - 1) * stride + (last - first) - side - (before - first), 0)
        return (before - first, after), slice(first, last)


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
        scale = self.weight * torch.rsqrt(self.running_var + BATCH_NORM_EPS)
        return scale, self.bias - self.running_mean * scale

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
        return F.relu6(self.conv.normalised(images, self.bn), inplace=True)


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
            inner = F.relu6(self.expand.normalised(inner, self.expand_bn), inplace=True)
        inner = F.relu6(self.depthwise.normalised(inner, self.depthwise_bn), inplace=True)
        projected = self.project.normalised(inner, self.project_bn)
        return projected + maps_BCHW if self.has_skip else projected


class ConvHead(nn.Module):
    """Last convolution and global average pooling: ``[B, inputs, H, W]`` → ``[B, features]``."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, features, 1)
        self.bn = FrozenBatchNorm(features)

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the pooled features."""
        return F.relu6(self.conv.normalised(maps_BCHW, self.bn), inplace=True).mean(dim=(2, 3))
