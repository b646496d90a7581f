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
    """Return the heads' outputs side by side, ``[B, N, D]``, for as many tokens as there are queries.

    Args:
        queries_BHNK: One query per token that is computed.
        keys_BHNK: One key per token that is attended to.
        values_BHNK: One value per token that is attended to.
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
        queries, keys, values = self._heads(self.qkv(tokens_BND)).unbind(0)
        return self._attend(queries, keys, values)

    def forward_class_token(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return the attention's output for the first token alone, shape ``[B, 1, D]``; all tokens are attended to."""
        dim = tokens_BND.shape[-1]
        query_weight, other_weight = self.qkv.weight.tensor_split((dim,))
        query_bias, other_bias = (None, None) if self.qkv.bias is None else self.qkv.bias.tensor_split((dim,))
        queries = self._heads(F.linear(tokens_BND[:, :1], query_weight, query_bias))[0]
        keys, values = self._heads(F.linear(tokens_BND, other_weight, other_bias)).unbind(0)
        return self._attend(queries, keys, values)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        """Return projections that lie side by side, ``[B, N, P·D]``, by projection and head: ``[P, B, H, N, K]``."""
        batch, number, width = projected.shape
        dim = self.proj.in_features
        return projected.reshape(batch, number, width // dim, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Return the output of as many tokens as there are queries; all three are ``[B, H, tokens, K]``."""
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
