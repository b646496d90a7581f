"""The networks of the plain fine-tuning loop: a vision transformer as it is commonly written, and EfficientNet-Lite0.

They compute what mu2net's networks compute, from the same parameters, and share no code with them.
Shapes: B batch, N tokens, D width, S side of an image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

State = Mapping[str, torch.Tensor]
"""Parameters and buffers by the names that the network gives them."""


class LayerScale(nn.Module):
    """Multiplies every channel by a learned factor."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scaled tokens."""
        return x * self.gamma


class Attention(nn.Module):
    """Multi-head self-attention on ``scaled_dot_product_attention``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mixed tokens, shape ``[B, N, D]``."""
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        mixed: torch.Tensor = self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))
        return mixed


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, inner)
        self.fc2 = nn.Linear(inner, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the transformed tokens, shape ``[B, N, D]``."""
        output: torch.Tensor = self.fc2(F.gelu(self.fc1(x)))
        return output


class Block(nn.Module):
    """A pre-norm encoder block."""

    def __init__(self, dim: int, heads: int, inner: int, eps: float, *, layer_scale: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads)
        self.ls1: nn.Module = LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, inner)
        self.ls2: nn.Module = LayerScale(dim) if layer_scale else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the tokens after attention and MLP, shape ``[B, N, D]``."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        output: torch.Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return output


class PatchEmbed(nn.Module):
    """Projects square patches."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the patches of images ``[B, 3, S, S]`` as tokens, without the class token."""
        patches: torch.Tensor = self.proj(x)
        return patches.flatten(2).transpose(1, 2)


class PlainVit(nn.Module):
    """A plain vision transformer with timm's names; the geometry is read from the parameters.

    Args:
        state: All parameters.
        heads: Number of attention heads.
        eps: Epsilon of the LayerNorms.
    """

    def __init__(self, state: State, heads: int, eps: float) -> None:
        super().__init__()
        dim, _, patch, _ = state["patch_embed.proj.weight"].shape
        inner = state["blocks.0.mlp.fc1.weight"].shape[0]
        depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
        layer_scale = "blocks.0.ls1.gamma" in state
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros_like(state["pos_embed"]))
        self.blocks = nn.Sequential(*(Block(dim, heads, inner, eps, layer_scale=layer_scale) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.head = nn.Linear(dim, state["head.weight"].shape[0])
        self.load_state_dict(dict(state))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of images ``[B, 3, S, S]``."""
        x = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1) + self.pos_embed
        x = self.norm(self.blocks(x))
        logits: torch.Tensor = self.head(x[:, 0])
        return logits


def plain_lite0(state: State, image_size: int) -> nn.Module:
    """Return EfficientNet-Lite0 as the package ``efficientnet-lite-pytorch`` has it.

    Args:
        state: All parameters and buffers, with the package's names.
        image_size: Side of the input, in pixels; the package fixes its padding for it.
    """
    from efficientnet_lite_pytorch import EfficientNet

    classes = state["_fc.weight"].shape[0]
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0", num_classes=classes, image_size=image_size)
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict({**counters, **state})
    return network


def freeze_all_but(network: nn.Module, trainable: set[str]) -> None:
    """Let exactly some parameters train.

    Batch norms and dropout run in evaluation mode: statistics are never updated, nothing is random.

    Args:
        network: The network.
        trainable: Names of the parameters that train.
    """
    network.eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trainable)
