"""Linear layers in 8-bit integers, for serving: less memory, and faster where the processor has such products.

Dynamic quantisation, in the sense of arXiv 1712.05877 (section 2.1), symmetric: weights per output channel, once;
activations per token, at every pass. Because a token's scale is its own, no answer depends on what else is in a batch.
"""

from __future__ import annotations

import torch
from torch import nn

from mu2net.nn.attention import Attention
from mu2net.nn.vit_slots import Head

WEIGHT_STEPS = 127
"""Steps of a weight to either side of zero."""

ACTIVATION_STEPS = 63
"""Steps of an activation to either side of zero: 7 bits, not 8.

Processors without integer dot products (AVX2) add two products of 8 bits in 16 bits, and would cut off what does not
fit; 2 · 127 · (2 · 63 + 1) does.
"""

_ZERO = ACTIVATION_STEPS + 1
_TINY = 1e-12


class Int8Linear(nn.Module):
    """A linear layer whose product is one of 8-bit integers; what enters and leaves it is float32.

    Args:
        linear: The layer that it stands for, on the CPU.
        keeps_weight: Whether ``weight`` can be read, which takes as much room again.
    """

    packed: torch.Tensor
    weight_q: torch.Tensor | None
    scale: torch.Tensor
    zero: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear, *, keeps_weight: bool = False) -> None:
        super().__init__()
        weight_NK = linear.weight.detach().float()
        scale_N = weight_NK.abs().amax(dim=1).clamp_min(_TINY) / WEIGHT_STEPS
        weight_q_NK = (weight_NK / scale_N[:, None]).round().to(torch.int8)
        self.register_buffer("packed", torch.ops.onednn.qlinear_prepack(weight_q_NK, None), persistent=False)
        self.register_buffer("weight_q", weight_q_NK if keeps_weight else None)
        self.register_buffer("scale", scale_N)
        self.register_buffer("zero", torch.zeros(len(scale_N), dtype=torch.int64))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    @property
    def weight(self) -> torch.Tensor:
        """The weights that it computes with, as float32 ``[N, K]``.

        Raises:
            ValueError: They were not kept.
        """
        if self.weight_q is None:
            raise ValueError("the weights of this layer were not kept; make it with keeps_weight=True")
        weight_NK: torch.Tensor = self.weight_q * self.scale[:, None]
        return weight_NK

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the layer's output.

        Args:
            tokens: float32, shape ``[..., K]``; every row has a scale of its own.

        Returns:
            float32, shape ``[..., N]``.
        """
        rows_RK = tokens.reshape(-1, tokens.shape[-1]).float()
        scale_R1 = rows_RK.abs().amax(dim=1, keepdim=True).clamp_min(_TINY) / ACTIVATION_STEPS
        rows_q_RK = (rows_RK / scale_R1).round().add_(_ZERO).to(torch.uint8)
        product_RN: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rows_q_RK, 1.0, _ZERO, self.packed, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        product_RN = product_RN * scale_R1 if self.bias is None else torch.addcmul(self.bias, product_RN, scale_R1)
        return product_RN.view(*tokens.shape[:-1], len(self.scale))


def to_int8(module: nn.Module) -> nn.Module:
    """Put ``Int8Linear`` in the place of all linear layers within a module but heads; return the module.

    Heads are small, and rounding them changes answers most; convolutions, LayerNorms and what attention computes
    between its linear layers stay as they are. Attention reads its weights where the class token alone is computed.

    Args:
        module: The module of a slot.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and not isinstance(child, Head):
            setattr(module, name, Int8Linear(child, keeps_weight=isinstance(module, Attention)))
        else:
            to_int8(child)
    return module
