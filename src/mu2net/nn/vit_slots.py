"""The computations in the slots of a vision transformer, with timm's names for the parameters.

All modules are built on the meta device; ``assign`` gives them their tensors.
Shapes: B batch, N tokens (class token first), D width, S side of the image, G side of the grid of patches.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from mu2net.nn.attention import Attention
from mu2net.nn.precision import autocast


class PatchEmbed(nn.Module):
    """Cuts images into square patches and projects each: ``[B, 3, S, S]`` → ``[B, G·G, D]``.

    Args:
        patch_size: Side of a patch, in pixels.
        dim: Width D.
    """

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size, device="meta")

    def forward(self, images_B3SS: torch.Tensor) -> torch.Tensor:
        """Return the patches as tokens.

        Raises:
            ValueError: The sides of the images are not multiples of the patch.
        """
        if any(side % self.patch_size for side in images_B3SS.shape[-2:]):
            sides = "x".join(str(side) for side in images_B3SS.shape[-2:])
            raise ValueError(f"images are {sides}; expected multiples of the patch, {self.patch_size}")
        grid_BDGG: torch.Tensor = self.proj(images_B3SS)
        return grid_BDGG.flatten(2).transpose(1, 2)


class Tokens(nn.Module):
    """Puts the class token first and adds the position embedding: ``[B, N-1, D]`` → ``[B, N, D]``.

    Args:
        number: Number N of tokens, class token included.
        dim: Width D.
    """

    def __init__(self, number: int, dim: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim, device="meta"))
        self.pos_embed = nn.Parameter(torch.empty(1, number, dim, device="meta"))

    def forward(self, patches_BND: torch.Tensor) -> torch.Tensor:
        """Return all tokens.

        Raises:
            ValueError: The number of patches is not that of the position embedding.
        """
        positions = self.pos_embed.shape[1] - 1
        if patches_BND.shape[1] != positions:
            raise ValueError(f"slot 'tokens' has {positions} positions; the images have {patches_BND.shape[1]} patches")
        class_B1D = self.cls_token.expand(patches_BND.shape[0], -1, -1)
        return torch.cat((class_B1D, patches_BND.to(class_B1D.dtype)), dim=1) + self.pos_embed


class LayerScale(nn.Module):
    """Multiplies every channel by a learned factor (arXiv 2103.17239)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(dim, device="meta"))

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return the scaled tokens, same shape."""
        return tokens_BND * self.gamma


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, inner, device="meta")
        self.fc2 = nn.Linear(inner, dim, device="meta")

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return the transformed tokens, same shape."""
        output: torch.Tensor = self.fc2(F.gelu(self.fc1(tokens_BND)))
        return output


class Block(nn.Module):
    """A pre-norm encoder block (arXiv 2010.11929): ``[B, N, D]`` → ``[B, N, D]``, or the class token's ``[B, 1, D]``.

    Args:
        dim: Width D.
        heads: Number of attention heads.
        mlp_dim: Inner width of the MLP.
        eps: Epsilon of the LayerNorms.
        layer_scale: Whether the residual branches end in a LayerScale.
        qkv_bias: Whether queries, keys and values have a bias.
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, eps: float, *, layer_scale: bool, qkv_bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps, device="meta")
        self.attn = Attention(dim, heads, qkv_bias=qkv_bias)
        self.ls1: nn.Module = LayerScale(dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=eps, device="meta")
        self.mlp = Mlp(dim, mlp_dim)
        self.ls2: nn.Module = LayerScale(dim) if layer_scale else nn.Identity()

    def forward(self, tokens_BND: torch.Tensor, *, class_token_only: bool = False) -> torch.Tensor:
        """Return the tokens after attention and MLP.

        Args:
            tokens_BND: All tokens.
            class_token_only: Whether to compute the class token alone, ``[B, 1, D]``: up to rounding the first token
                of what the block returns otherwise, at a fraction of the cost.
        """
        normed_BND = self.norm1(tokens_BND)
        if class_token_only:
            tokens_BND = tokens_BND[:, :1]
            # Normalised once more by itself: the gradient of a slice of all tokens would be mostly zeros, and large.
            attended_BND = self.attn.forward_class_token(self.norm1(tokens_BND), normed_BND)
        else:
            attended_BND = self.attn(normed_BND)
        mixed_BND: torch.Tensor = tokens_BND + self.ls1(attended_BND)
        output_BND: torch.Tensor = mixed_BND + self.ls2(self.mlp(self.norm2(mixed_BND)))
        return output_BND


class Adapter(nn.Module):
    """Residual adapter (arXiv 1902.00751): x + up(gelu(down(LayerNorm(x)))), ``[B, N, D]`` → ``[B, N, D]``.

    With inner size a it has 2D + (D·a + a) + (a·D + D) parameters.

    Args:
        dim: Width D.
        inner: Inner size a.
        eps: Epsilon of the LayerNorm.
    """

    def __init__(self, dim: int, inner: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps, device="meta")
        self.down = nn.Linear(dim, inner, device="meta")
        self.up = nn.Linear(inner, dim, device="meta")

    def forward(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """Return the adapted tokens."""
        adapted: torch.Tensor = self.up(F.gelu(self.down(self.norm(tokens_BND))))
        return tokens_BND + adapted


class Head(nn.Linear):
    """Linear classifier; logits are float32 also under autocast, so that close classes never tie by rounding.

    Args:
        dim: Number of features.
        classes: Number of classes.
        from_tokens: Whether it reads the class token of ``[B, N, D]`` instead of features ``[B, D]``.
    """

    def __init__(self, dim: int, classes: int, *, from_tokens: bool) -> None:
        super().__init__(dim, classes, device="meta")
        self.from_tokens = from_tokens

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        """Return logits, shape ``[B, classes]``, float32."""
        features_BD = input[:, 0] if self.from_tokens else input
        with autocast(features_BD.device, "float32"):
            return F.linear(features_BD.float(), self.weight, self.bias)
