"""The computations in the slots of EfficientNet-Lite (arXiv 1905.11946, without squeeze-excitation).

All modules are built on the meta device; ``assign`` gives them their tensors. Feature maps are ``[B, C, H, W]``, and
fastest channels-last.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mu2net.nn.batch_norm import FrozenBatchNorm
from mu2net.nn.frozen import Derived
from mu2net.nn.products import BlockMatrices, Layer, block_matrices, compute_block, compute_pooled, pooled_matrix
from mu2net.nn.relu6 import relu6_
from mu2net.nn.small_maps import arithmetic, is_as_published, is_small, multiplied_dtype


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
        self._derived: Derived[tuple[torch.Tensor, torch.Tensor]] = Derived()

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Conv2d
        """Return the feature maps."""
        return self._convolve(input, self._fit(self.weight, (input.shape[-2], input.shape[-1])), None)

    def normalised(self, maps_BCHW: torch.Tensor, norm: FrozenBatchNorm) -> torch.Tensor:
        """Return the feature maps after a batch norm, which is folded into the kernel.

        The statistics are constants, so this is the same function, with the same gradients, and spares a pass over the
        maps.
        """
        if is_as_published(maps_BCHW):
            return self._convolve_plainly(maps_BCHW, *self._fold(norm))
        size = (maps_BCHW.shape[-2], maps_BCHW.shape[-1])

        def compute() -> tuple[torch.Tensor, torch.Tensor]:
            kernel, shift = self._fold(norm)
            return self._fit(kernel, size), shift

        sources = (self.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        return self._convolve(maps_BCHW, *self._derived.get(sources, compute, size))

    def _fold(self, norm: FrozenBatchNorm) -> tuple[torch.Tensor, torch.Tensor]:
        scale, shift = norm.affine()
        return self.weight * scale[:, None, None, None], shift

    def _fit(self, kernel: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the taps of a kernel that can meet an input of some size.

        Taps that only ever meet padding are left out: at a side of 1, a depthwise kernel is one number per channel.
        Where the padding is odd, the kernel gets a row and a column of zeros, which is cheaper than padding the maps.
        """
        (top, bottom), rows = self._window(size[0])
        (left, right), columns = self._window(size[1])
        kernel = kernel[:, :, rows, columns]
        if (top, left) == (bottom, right):
            return kernel
        return F.pad(kernel, (max(right - left, 0), max(left - right, 0), max(bottom - top, 0), max(top - bottom, 0)))

    def _convolve(self, maps: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Convolve with a kernel that fits the maps, and with symmetric padding."""
        if self.groups == self.in_channels == self.out_channels and kernel.shape[-2:] == maps.shape[-2:] == (1, 1):
            product = maps * kernel.view(1, -1, 1, 1)
            return product if bias is None else product + bias.view(1, -1, 1, 1)
        padding = (max(self._window(maps.shape[-2])[0]), max(self._window(maps.shape[-1])[0]))
        return F.conv2d(maps, kernel, bias, self.stride, padding, groups=self.groups)

    def _convolve_plainly(self, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Convolve with the kernel as it was published: where operations are counted, and in programs for others.

        ONNX's exporter writes graphs that cannot be loaded where a kernel of many channels is padded.
        """
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


class Stem(nn.Module):
    """First convolution: ``[B, 3, S, S]`` → ``[B, channels, S/2, S/2]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = SameConv2d(3, channels, 3, stride=2)
        self.bn = FrozenBatchNorm(channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the first feature maps."""
        with arithmetic(images):
            return relu6_(self.conv.normalised(images, self.bn))

    def measure_statistics(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise with the statistics of these images from here on; return the feature maps."""
        return F.relu6(self.bn.measured(self.conv(images)))


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
        self._derived: Derived[BlockMatrices] = Derived()

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the block's feature maps."""
        if self.has_expansion and is_small(maps_BCHW):
            projected = self._project_small(maps_BCHW)
        else:
            with arithmetic(maps_BCHW):
                projected = self._project(maps_BCHW)
        return projected + maps_BCHW if self.has_skip else projected

    def measure_statistics(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalise with the statistics of these feature maps from here on; return the block's own."""
        inner = maps_BCHW
        if self.has_expansion:
            inner = F.relu6(self.expand_bn.measured(self.expand(inner)))
        inner = F.relu6(self.depthwise_bn.measured(self.depthwise(inner)))
        projected = self.project_bn.measured(self.project(inner))
        return projected + maps_BCHW if self.has_skip else projected

    def _project(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the projected maps, computed with convolutions."""
        inner = relu6_(self.expand.normalised(maps_BCHW, self.expand_bn)) if self.has_expansion else maps_BCHW
        inner = relu6_(self.depthwise.normalised(inner, self.depthwise_bn))
        return self.project.normalised(inner, self.project_bn)

    def _project_small(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the projected maps, computed with matrix products."""
        batch, _, height, width = maps_BCHW.shape
        rows = _rows(maps_BCHW)
        projected = compute_block(rows, batch, self._layers, self._matrices(height, width, multiplied_dtype(rows)))
        height, width = (-(-side // self.depthwise.stride[0]) for side in (height, width))
        return projected.view(batch, height, width, -1).permute(0, 3, 1, 2)

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return (
            Layer(self.expand.weight, self.expand_bn),
            Layer(self.depthwise.weight, self.depthwise_bn),
            Layer(self.project.weight, self.project_bn),
        )

    def _matrices(self, height: int, width: int, dtype: torch.dtype) -> BlockMatrices:
        layers = self._layers
        sources = [tensor for layer in layers for tensor in layer.tensors]
        key = height, width, dtype
        return self._derived.get(sources, lambda: block_matrices(layers, self.depthwise.stride[0], *key), key)


class ConvHead(nn.Module):
    """Last convolution and global average pooling: ``[B, inputs, H, W]`` → ``[B, features]``."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.conv = SameConv2d(inputs, features, 1)
        self.bn = FrozenBatchNorm(features)
        self._derived: Derived[tuple[torch.Tensor, torch.Tensor]] = Derived()

    def forward(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the pooled features."""
        if is_small(maps_BCHW):
            rows, layer = _rows(maps_BCHW), Layer(self.conv.weight, self.bn)
            dtype = multiplied_dtype(rows)
            matrix = self._derived.get(layer.tensors, lambda: pooled_matrix(layer, dtype), dtype)
            return compute_pooled(rows, len(maps_BCHW), layer, matrix)
        return relu6_(self.conv.normalised(maps_BCHW, self.bn)).mean(dim=(2, 3))

    def measure_statistics(self, maps_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalise with the statistics of these feature maps from here on; return the pooled features."""
        return F.relu6(self.bn.measured(self.conv(maps_BCHW))).mean(dim=(2, 3))


def _rows(maps_BCHW: torch.Tensor) -> torch.Tensor:
    """Return feature maps as rows of channels, image by image and position by position, ``[B · H · W, C]``."""
    return maps_BCHW.permute(0, 2, 3, 1).reshape(-1, maps_BCHW.shape[1])
