"""What a network costs: floating-point operations and parameters, counted without computing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from mu2net.core.component import Slot
from mu2net.nn.attention import Kernel, select_kernel
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import build_chain


def count_flops(
    backbone: Backbone,
    components: Iterable[tuple[Slot, Mapping[str, torch.Tensor]]],
    image_size: int,
    *,
    kernel: Kernel = "explicit",
) -> int:
    """Return the FLOPs of one forward pass at batch 1; a multiplication with its addition counts as two.

    Convolutions, linear layers and both matrix products of attention count; element-wise work does not. What counts is
    what the chain computes: below a head that reads the class token, the last block computes no other. Convolutions
    count as they are published, however they are computed. The number does not depend on the values of the tensors, nor
    on the attention kernel. The first call in a process takes about
    a second, because PyTorch imports its compiler for tensors without values; ``Anatomy.flops`` is there at once.

    Args:
        backbone: What the slots compute.
        components: Slots and their tensors, in the order of computation; only shapes matter.
        image_size: Side of the square input, in pixels.
        kernel: Attention kernel whose operations are counted.
    """
    shapes = [(slot, _without_values(tensors)) for slot, tensors in components]
    chain = build_chain(backbone, shapes)
    select_kernel(chain, kernel)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        chain(torch.empty(1, 3, image_size, image_size, device="meta"))
    return int(counter.get_total_flops())


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
