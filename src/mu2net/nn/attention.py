"""Multi-head self-attention with two exact kernels, and how one of them is chosen.

Both compute the same function, but not the same bits, so a path runs with one of them always. Which is faster depends
on the processor, the arithmetic and the shape: ``train.kernel`` measures it once, ``use_kernel`` puts it into effect.

Shapes: B batch, N tokens, D width, H heads, K = D / H width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from mu2net.errors import UnknownNameError

AttentionKernel = Literal["explicit", "sdpa"]
"""``explicit``: matmul, softmax, matmul. ``sdpa``: ``scaled_dot_product_attention``."""

Kernel = Literal["auto", "explicit", "sdpa"]
"""What may be asked for; ``auto`` is the kernel of ``use_kernel``, outside of its block that of ``choose_kernel``."""

_IN_USE: ContextVar[AttentionKernel | None] = ContextVar("attention kernel in use", default=None)


@dataclass(frozen=True)
class AttentionShape:
    """The shape of a network's attention, on which it depends which kernel is faster.

    Args:
        tokens: Number N of tokens.
        heads: Number H of heads.
        width: Width K of a head.
    """

    tokens: int
    heads: int
    width: int


@contextmanager
def use_kernel(kernel: AttentionKernel) -> Iterator[None]:
    """Let every attention whose own kernel is ``auto`` compute with a kernel inside the block, in this thread only.

    Args:
        kernel: The kernel.
    """
    token = _IN_USE.set(kernel)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def choose_kernel(device: torch.device, dtype: torch.dtype) -> AttentionKernel:
    """Return the kernel of the fixed rule: ``explicit`` under bfloat16 on a CPU, ``sdpa`` otherwise.

    It holds where nothing was measured, and for paths that were recorded without their kernel.

    Args:
        device: Where the queries are.
        dtype: What the queries are; under autocast the type that it casts to.
    """
    return "explicit" if device.type == "cpu" and dtype == torch.bfloat16 else "sdpa"


def explicit_attention(queries_BHNK: torch.Tensor, keys_BHNK: torch.Tensor, values_BHNK: torch.Tensor) -> torch.Tensor:
    """Return softmax(QKᵀ/√K)·V, shape ``[B, H, N, K]``, by matmul, softmax and matmul."""
    scale = queries_BHNK.shape[-1] ** -0.5
    weights_BHNN = torch.matmul(queries_BHNK * scale, keys_BHNK.transpose(-2, -1)).softmax(dim=-1)
    return torch.matmul(weights_BHNN.to(values_BHNK.dtype), values_BHNK)


def attend(
    queries_BHNK: torch.Tensor, keys_BHNK: torch.Tensor, values_BHNK: torch.Tensor, kernel: AttentionKernel
) -> torch.Tensor:
    """Return the heads' outputs side by side, ``[B, N, D]``.

    Args:
        queries_BHNK: One query per token.
        keys_BHNK: One key per token.
        values_BHNK: One value per token.
        kernel: How it is computed.
    """
    compute = explicit_attention if kernel == "explicit" else F.scaled_dot_product_attention
    mixed_BHNK = compute(queries_BHNK, keys_BHNK, values_BHNK)
    return mixed_BHNK.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention with timm's names: ``qkv`` (queries, keys, values in this order) and ``proj``.

    Args:
        dim: Width D of the tokens.
        heads: Number of heads; divides ``dim``.
        qkv_bias: Whether ``qkv`` has a bias.
        kernel: How the attention is computed; may be set at any time.
    """

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool = True, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.heads = heads
        self.kernel: Kernel = kernel
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias, device="meta")
        self.proj = nn.Linear(dim, dim, device="meta")

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return the attention's output, shape ``[B, N, D]``."""
        batch, number, dim = tokens_BND.shape
        qkv = self.qkv(tokens_BND).reshape(batch, number, 3, self.heads, dim // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return self._attend(queries, keys, values)

    def forward_class_token(self, class_B1D: torch.Tensor, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return the attention's output for the class token alone, shape ``[B, 1, D]``; all tokens are attended to.

        For one query another order of the products is cheaper: q·(W_K·x) = (q·W_K)·x and Σa·(W_V·x) = W_V·(Σa·x), so
        that no token's keys and values are formed and no kernel is needed. A bias of the keys would add the same number
        to all scores, which the softmax takes away; its weights sum to one, so the values' bias comes last.

        Args:
            class_B1D: The class token.
            tokens_BND: All tokens, the class token included.
        """
        batch, _, dim = tokens_BND.shape
        width = dim // self.heads
        query_weight, key_weight, value_weight = self.qkv.weight.tensor_split(3)
        query_bias, _, value_bias = (None, None, None) if self.qkv.bias is None else self.qkv.bias.tensor_split(3)
        queries_BD = F.linear(class_B1D[:, 0], query_weight, query_bias)
        tokens_BND = tokens_BND.to(queries_BD.dtype)
        queries_HBK = (queries_BD * width**-0.5).view(batch, self.heads, width).transpose(0, 1)
        queries_BHD = torch.bmm(queries_HBK, key_weight.view(self.heads, width, dim)).transpose(0, 1)
        weights_BHN = torch.bmm(queries_BHD, tokens_BND.mT).softmax(dim=-1)
        mixed_HBD = torch.bmm(weights_BHN.to(tokens_BND.dtype), tokens_BND).transpose(0, 1)
        values_HBK = torch.bmm(mixed_HBD, value_weight.view(self.heads, width, dim).mT)
        values_B1D = values_HBK.transpose(0, 1).reshape(batch, 1, dim)
        output: torch.Tensor = self.proj(values_B1D if value_bias is None else values_B1D + value_bias)
        return output

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Return the output, shape ``[B, N, D]``, from queries, keys and values of shape ``[B, H, N, K]``."""
        chosen = _IN_USE.get() or choose_kernel(queries.device, queries.dtype)
        mixed_BND = attend(queries, keys, values, chosen if self.kernel == "auto" else self.kernel)
        output: torch.Tensor = self.proj(mixed_BND)
        return output


def select_kernel(module: nn.Module, kernel: Kernel) -> None:
    """Set how every attention inside a module is computed.

    Args:
        module: A chain, a block, or anything that holds them.
        kernel: The kernel.

    Raises:
        UnknownNameError: There is no such kernel.
    """
    if kernel not in get_args(Kernel):
        raise UnknownNameError("attention kernel", kernel, get_args(Kernel))
    for part in module.modules():
        if isinstance(part, Attention):
            part.kernel = kernel
