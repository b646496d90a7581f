"""ReLU6 that writes over its input and keeps no copy of it."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _Relu6(torch.autograd.Function):
    """``F.relu6(inplace=True)`` copies its input for the backward pass; where it clips, the output tells as well."""

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
        if shift is not None:
            maps.add_(shift)
        maps.clamp_(0, 6)
        ctx.mark_dirty(maps)
        ctx.save_for_backward(maps)
        ctx.shift_shape = None if shift is None else shift.shape
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        (output,) = ctx.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(gradient, output, 0.0, 6.0)
        return passed, passed.sum_to_size(ctx.shift_shape) if ctx.needs_input_grad[1] else None


def relu6_(maps: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
    """Return min(max(maps + shift, 0), 6), written over ``maps``.

    Args:
        maps: Where nothing else needs it: what an operation returned that does not keep its output.
        shift: Added first; broadcast to the maps.
    """
    if torch.compiler.is_compiling():  # others than this package run what is traced
        return F.relu6(maps if shift is None else maps + shift)
    activated: torch.Tensor = _Relu6.apply(maps, shift)  # type: ignore[no-untyped-call]
    return activated
