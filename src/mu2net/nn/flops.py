"""What a network costs: floating-point operations and parameters, counted by PyTorch's own formulas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mu2net.core.component import Slot
from mu2net.nn.attention import select_kernel
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import build_chain
from mu2net.nn.precision import autocast
from mu2net.nn.small_maps import as_published


def count_flops(
    backbone: Backbone,
    components: Iterable[tuple[Slot, Mapping[str, torch.Tensor]]],
    image_size: int,
) -> int:
    """Return the FLOPs of one forward pass at batch 1; a multiplication with its addition counts as two.

    Convolutions, linear layers and both matrix products of attention count; element-wise work does not. What counts is
    what the chain computes: below a head that reads the class token, the last block computes no other. Convolutions
    count as they are published, however they are computed. The number does not depend on the values of the tensors, nor
    on the attention kernel.

    One black image is computed for it. Tensors without values would do, but PyTorch imports its compiler for them:
    70 MiB and most of a second in every process that counts; ``Anatomy.flops`` is there at once.

    Args:
        backbone: What the slots compute.
        components: Slots and their tensors, all on one device, in the order of computation; only shapes matter.
        image_size: Side of the square input, in pixels.
    """
    parts = list(components)
    device = next(tensor.device for _, tensors in parts for tensor in tensors.values())
    chain = build_chain(backbone, parts)
    select_kernel(chain, "explicit")
    counter = _Counter()
    with torch.no_grad(), autocast(device, "float32"), as_published(), counter:
        chain(torch.zeros(1, 3, image_size, image_size, device=device))
    return counter.total


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what PyTorch's own formulas say of every operation, as ``FlopCounterMode`` does, without the compiler."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that the compiler need not be told to leave this mode alone; that is what would import it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, or what it is made of where there is no formula for it, and count it."""
        named = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **named)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **named)
        if formula is not None:
            self.total += int(formula(*args, **named, out_val=out))
        return out


def count_parameters(backbone: Backbone, slot: Slot, tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the number of scalar parameters of a component; batch-norm statistics are none.

    Args:
        backbone: What the slot computes.
        slot: The slot.
        tensors: The component; only shapes matter.
    """
    return sum(parameter.numel() for parameter in backbone.module(slot, _without_values(tensors)).parameters())


def _without_values(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
