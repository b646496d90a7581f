"""Blocks and the last convolution on small feature maps: matrix products, and backward passes written by hand.

Autograd computes the same in about as many operations. These pass over the maps and the weights less often: the shift
of the first batch norm is a column of the matrix before it, weights are rounded as soon as they are folded, and
gradients of maps are written over one another. Measured in bfloat16 on a CPU with AVX512-BF16 (docs/performance.md):
the fastest steps of EfficientNet-Lite0's last three stages take a tenth less time than with autograd.

Shapes: B batch, P positions of the maps that enter, Q of those that leave, C inner channels, I inputs, O outputs. What
enters and leaves lies image by image and position by position, inner maps lie channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mu2net.nn.batch_norm import FrozenBatchNorm
from mu2net.nn.precision import autocast
from mu2net.nn.small_maps import tap_placement

_TOP = 6.0


class Layer(NamedTuple):
    """A convolution without bias, and the batch norm behind it.

    Args:
        weight: The kernel, ``[outputs, inputs of a group, side, side]``.
        norm: The batch norm.
    """

    weight: torch.Tensor
    norm: FrozenBatchNorm

    @property
    def parameters(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What trains, where the block does."""
        return self.weight, self.norm.weight, self.norm.bias

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Everything that the layer computes with."""
        return *self.parameters, *self.norm.buffers()

    def fold(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the kernel that convolves and normalises at once, ``[outputs, taps]``, and the shift ``[outputs]``."""
        factor, shift = self.norm.affine()
        return self.weight.flatten(1) * factor[:, None], shift

    def gradients(self, of_kernel: torch.Tensor, of_shift: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the gradients of ``parameters``, from those of what ``fold`` returns, which may be written over."""
        of_kernel, of_shift = of_kernel.to(self.weight.dtype), of_shift.to(self.weight.dtype)
        factor, _ = self.norm.affine()
        of_factor = torch.linalg.vecdot(of_kernel, self.weight.flatten(1))
        of_weight = of_kernel.mul_(factor[:, None]).view_as(self.weight)
        return of_weight, *self.norm.affine_gradients(of_factor, of_shift)


@dataclass(frozen=True)
class BlockMatrices:
    """The weights of a block as matrices, for maps of one size, in the type in which they are multiplied.

    Args:
        expand: The expansion, ``[C, I + 1]``; its last column is the shift.
        spread: The depthwise convolution, one matrix per channel, ``[C, P, Q]``.
        spread_shift: Its shift, ``[C, 1, 1]``.
        project: The projection, ``[O, C]``.
        project_shift: Its shift, ``[O]``.
        placement: Where each tap stands in the matrix of a channel, ``[taps, P · Q]``.
    """

    expand: torch.Tensor
    spread: torch.Tensor
    spread_shift: torch.Tensor
    project: torch.Tensor
    project_shift: torch.Tensor
    placement: torch.Tensor


@torch.no_grad()
def block_matrices(layers: Sequence[Layer], stride: int, height: int, width: int, dtype: torch.dtype) -> BlockMatrices:
    """Return the weights of a block as matrices.

    Args:
        layers: Expansion, depthwise convolution and projection.
        stride: Stride of the depthwise convolution.
        height: Height of the maps that enter.
        width: Their width.
        dtype: Type of the matrices.
    """
    with autocast(layers[0].weight.device, "float32"):
        (expand, expand_shift), (taps, spread_shift), (project, project_shift) = (layer.fold() for layer in layers)
        placement = tap_placement(layers[1].weight.shape[-1], stride, height, width).to(dtype)
        return BlockMatrices(
            torch.cat([expand.to(dtype), expand_shift.to(dtype)[:, None]], 1),
            torch.mm(taps.to(dtype), placement).view(len(taps), height * width, -1),
            spread_shift.to(dtype)[:, None, None],
            project.to(dtype),
            project_shift.to(dtype),
            placement,
        )


def compute_block(rows: torch.Tensor, batch: int, layers: Sequence[Layer], matrices: BlockMatrices) -> torch.Tensor:
    """Return what a block computes, without the skip.

    Args:
        rows: The maps that enter, ``[B · P, I]``.
        batch: Number B of images.
        layers: Expansion, depthwise convolution and projection: what gradients are for.
        matrices: The same weights as matrices.

    Returns:
        The maps that leave, ``[B · Q, O]``, in the type of the matrices.
    """
    parameters = (parameter for layer in layers for parameter in layer.parameters)
    projected: torch.Tensor = _Block.apply(rows, batch, layers, matrices, *parameters)  # type: ignore[no-untyped-call]
    return projected


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, batch: int, layers: Sequence[Layer], matrices: BlockMatrices, *_: torch.Tensor
    ) -> torch.Tensor:
        entering = F.pad(rows.to(matrices.expand.dtype), (0, 1), value=1.0)
        inner = torch.mm(matrices.expand, entering.t()).clamp_(0, _TOP).view(len(matrices.expand), batch, -1)
        spread = torch.baddbmm(matrices.spread_shift, inner, matrices.spread).clamp_(0, _TOP)
        ctx.save_for_backward(entering, inner, spread)
        ctx.layers, ctx.matrices, ctx.dtype = layers, matrices, rows.dtype
        return torch.addmm(matrices.project_shift, spread.flatten(1).t(), matrices.project.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_rows: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        entering, inner, spread = ctx.saved_tensors
        layers, matrices = ctx.layers, ctx.matrices
        gradients: list[torch.Tensor | None] = [None] * len(ctx.needs_input_grad[4:])
        of_spread = _below_relu6(torch.mm(matrices.project.t(), of_rows.t()).view_as(spread), spread)
        of_inner = _below_relu6(torch.bmm(of_spread, matrices.spread.transpose(1, 2)), inner).flatten(1)
        if any(ctx.needs_input_grad[4:]):
            of_expand = torch.mm(of_inner, entering)
            of_matrices = torch.bmm(inner.transpose(1, 2), of_spread)
            of_taps = torch.mm(of_matrices.flatten(1), matrices.placement.t())
            of_project = torch.mm(of_rows.t(), spread.flatten(1).t())
            gradients = [
                *layers[0].gradients(of_expand[:, :-1], of_expand[:, -1]),
                *layers[1].gradients(of_taps, of_spread.sum((1, 2))),
                *layers[2].gradients(of_project, of_rows.sum(0)),
            ]
        of_entering = None
        if ctx.needs_input_grad[0]:
            of_entering = torch.mm(of_inner.t(), matrices.expand[:, :-1]).to(ctx.dtype)
        return of_entering, None, None, None, *gradients


@torch.no_grad()
def pooled_matrix(layer: Layer, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a 1x1 convolution as a matrix ``[O, I]`` and a shift ``[O]``.

    Args:
        layer: The convolution.
        dtype: Type of both.
    """
    with autocast(layer.weight.device, "float32"):
        kernel, shift = layer.fold()
        return kernel.to(dtype), shift.to(dtype)


def compute_pooled(
    rows: torch.Tensor, batch: int, layer: Layer, matrix: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Return a 1x1 convolution, its ReLU6 and the mean over all positions, ``[B, O]``, in the type of the matrix.

    Args:
        rows: The maps that enter, ``[B · P, I]``.
        batch: Number B of images.
        layer: The convolution: what gradients are for.
        matrix: The same weights, see ``pooled_matrix``.
    """
    pooled: torch.Tensor = _Pooled.apply(rows, batch, layer, matrix, *layer.parameters)  # type: ignore[no-untyped-call]
    return pooled


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        batch: int,
        layer: Layer,
        matrix: tuple[torch.Tensor, torch.Tensor],
        *_: torch.Tensor,
    ) -> torch.Tensor:
        kernel, shift = matrix
        entering = rows.to(kernel.dtype)
        maps = torch.addmm(shift, entering, kernel.t()).clamp_(0, _TOP).view(batch, -1, len(kernel))
        ctx.save_for_backward(entering, maps)
        ctx.layer, ctx.kernel, ctx.dtype = layer, kernel, rows.dtype
        return maps.mean(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_pooled: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        entering, maps = ctx.saved_tensors
        of_maps = (of_pooled / maps.shape[1])[:, None].expand_as(maps)
        of_maps = torch.ops.aten.hardtanh_backward(of_maps, maps, 0.0, _TOP).flatten(0, 1)
        gradients: tuple[torch.Tensor | None, ...] = (None, None, None)
        if any(ctx.needs_input_grad[4:]):
            gradients = ctx.layer.gradients(torch.mm(of_maps.t(), entering), of_maps.sum(0))
        of_entering = torch.mm(of_maps, ctx.kernel).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return of_entering, None, None, None, *gradients


def _below_relu6(gradient: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Write the gradient of what entered a ReLU6 over that of what left it."""
    below: torch.Tensor = torch.ops.aten.hardtanh_backward.grad_input(gradient, output, 0.0, _TOP, grad_input=gradient)
    return below
