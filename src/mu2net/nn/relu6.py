"""ReLU6 that writes over its input and keeps no copy of it."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _Relu6(torch.autograd.Function):
    """``F.relu6(inplace=True)`` copies its input for the backward pass; where it clips, the output tells as well."""

    @staticmethod
    def forward(ctx: Any, maps: torch.Tensor) -> torch.Tensor:
        maps.clamp_(0, 6)
        ctx.mark_dirty(maps)
        ctx.save_for_backward(maps)
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (output,) = ctx.saved_tensors
        passed: torch.Tensor = torch.ops.aten.hardtanh_backward(gradient, output, 0.0, 6.0)
        return passed


def relu6_(maps: torch.Tensor) -> torch.Tensor:
    """Return min(max(maps, 0), 6), written over ``maps``.

    Args:
        maps: Where nothing else needs it: what an operation returned that does not keep its output.
    """
    if torch.compiler.is_compiling():  # others than this package run what is traced
        return F.relu6(maps)
    activated: torch.Tensor = _Relu6.apply(maps)  # type: ignore[no-untyped-call]
    return activated
