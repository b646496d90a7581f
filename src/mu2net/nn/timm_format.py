"""Plain vision transformers in timm's format: which checkpoints are supported, and how they become components."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch

from mu2net.core.anatomy import block_slot
from mu2net.core.component import Slot
from mu2net.errors import RootError
from mu2net.nn.backbone import Normalisation, Tensors
from mu2net.nn.vit import NORM, PATCH_EMBED, TOKENS, Vit

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation on RGB in 0..1 where a checkpoint comes without a configuration."""

UNSUPPORTED = {
    "reg_token": "register tokens",
    "register_tokens": "register tokens",
    "storage_tokens": "register tokens",
    "dist_token": "a distillation token",
    "head_dist": "a distillation token",
    "norm_pre": "a norm before the blocks",
    "fc_norm": "average pooling instead of the class token",
    "attn_pool": "attention pooling instead of the class token",
    "rope": "rotary position embedding",
    "rel_pos": "relative position embedding",
    "relative_position": "relative position embedding",
    "q_norm": "norms on queries and keys",
    "k_norm": "norms on queries and keys",
    "w12": "a gated MLP",
    "fc1_g": "a gated MLP",
    "fc1_x": "a gated MLP",
}
"""Parts of a tensor's name, and what they tell about a network that is not supported."""

_BLOCK_TENSORS = frozenset(
    f"{layer}.{leaf}"
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for leaf in ("weight", "bias")
)
_OPTIONAL_BLOCK_TENSORS = frozenset({"ls1.gamma", "ls2.gamma", "attn.qkv.bias"})
_OUTSIDE_TENSORS = frozenset(
    {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"}
)
_IGNORED = ("head.", "pre_logits.")
_WIDTHS_OF_64 = (192, 256, 320, 384, 512, 640, 768, 1024)


@dataclass(frozen=True)
class Settings:
    """What the tensors of a checkpoint do not tell.

    Args:
        heads: Number of attention heads; ``None`` to infer it from the width.
        mean: Mean per channel of RGB in 0..1.
        std: Standard deviation per channel of RGB in 0..1.
        eps: Epsilon of all LayerNorms.
    """

    heads: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    eps: float = 1e-6

    @property
    def normalisation(self) -> Normalisation:
        """The same on RGB in 0..255."""
        red, green, blue = (255.0 * value for value in self.mean)
        scale_red, scale_green, scale_blue = (255.0 * value for value in self.std)
        return Normalisation((red, green, blue), (scale_red, scale_green, scale_blue))


def settings_from_config(config: Mapping[str, Any], owner: str) -> Settings:
    """Return the settings in the ``config.json`` that timm puts next to a checkpoint.

    Args:
        config: Its content.
        owner: What the checkpoint is, for messages.

    Raises:
        RootError: It is not timm's, or describes a network that is not supported.
    """
    architecture, pretrained = config.get("architecture"), config.get("pretrained_cfg")
    if not isinstance(architecture, str) or not isinstance(pretrained, dict):
        raise RootError(
            f"{owner}: config.json is not timm's (no 'architecture' and 'pretrained_cfg'); "
            "use a repository of a timm vision transformer, for instance hf:timm/vit_tiny_patch16_224.augreg_in21k"
        )
    arguments = config.get("model_args") or {}
    activation = arguments.get("act_layer", "quick_gelu" if "quickgelu" in architecture else "gelu")
    if activation != "gelu":
        raise RootError(f"{owner}: activation {activation!r} is not supported; expected 'gelu'")
    values: dict[str, Any] = {}
    for name in ("mean", "std"):
        if name in pretrained:
            values[name] = triple(pretrained[name], f"{owner}: {name!r} in config.json")
    heads = arguments.get("num_heads", _heads_of_architecture(architecture))
    if heads is not None and (not isinstance(heads, int) or heads < 1):
        raise RootError(f"{owner}: 'num_heads' in config.json is {heads!r}; expected a positive integer")
    return Settings(heads=heads, **values)


def triple(value: Any, owner: str) -> tuple[float, float, float]:
    """Return three numbers, one per colour channel.

    Args:
        value: A sequence of three numbers.
        owner: What it is, for the message.

    Raises:
        RootError: It is something else.
    """
    try:
        red, green, blue = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise RootError(f"{owner} is {value!r}; expected three numbers, one per colour channel") from error
    return red, green, blue


def _heads_of_architecture(architecture: str) -> int | None:
    """Return the heads of the architectures whose heads are not 64 wide; ``None`` for all others."""
    return 16 if re.match(r"vit_(huge|giant|gigantic|so\d+m)", architecture) else None


def components_of_checkpoint(
    state: Mapping[str, torch.Tensor], settings: Settings, owner: str
) -> tuple[Vit, list[tuple[Slot, Tensors]]]:
    """Return the backbone and the components of a checkpoint with timm's names.

    The geometry is read from the shapes. Half-precision tensors become float32; ``head.*`` and ``pre_logits.*`` are
    left out.

    Args:
        state: Tensors by name.
        settings: What the tensors do not tell.
        owner: What the checkpoint is, for messages.

    Raises:
        RootError: The checkpoint is not a plain vision transformer.
    """
    try:
        return _split(state, settings)
    except RootError as error:
        raise RootError(f"{owner}: {error}") from error


def _split(state: Mapping[str, torch.Tensor], settings: Settings) -> tuple[Vit, list[tuple[Slot, Tensors]]]:
    tensors = {name: _float32(name, tensor) for name, tensor in state.items() if not name.startswith(_IGNORED)}
    depth = _check_names(tensors)
    positions = _full_positions(tensors)
    backbone = _geometry(tensors, depth, isqrt(positions.shape[1] - 1), settings)
    components: list[tuple[Slot, Tensors]] = [
        (PATCH_EMBED, _below(tensors, "patch_embed.")),
        (TOKENS, {"cls_token": tensors["cls_token"], "pos_embed": positions}),
        *((block_slot(index), _below(tensors, f"blocks.{index}.")) for index in range(depth)),
        (NORM, _below(tensors, "norm.")),
    ]
    for slot, component in components:
        backbone.module(slot, component)
    return backbone, components


def _float32(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise RootError(f"tensor {name!r} has type {tensor.dtype}; expected float32, float16 or bfloat16")
    if not bool(tensor.isfinite().all()):
        raise RootError(f"tensor {name!r} holds values that are not finite")
    return tensor.float().contiguous()


def _check_names(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the number of blocks, after checking that all names belong to a plain vision transformer."""
    for name in tensors:
        for part, meaning in UNSUPPORTED.items():
            if any(piece.startswith(part) for piece in name.split(".")):
                raise RootError(f"{meaning} (tensor {name!r}) cannot be used; expected a plain ViT")
    blocks: dict[int, set[str]] = {}
    outside = set()
    for name in tensors:
        if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
            blocks.setdefault(int(match[1]), set()).add(match[2])
        else:
            outside.add(name)
    if missing := sorted(_OUTSIDE_TENSORS - outside):
        raise RootError(f"tensor {missing[0]!r} is missing; expected the names of a plain timm ViT")
    if extra := sorted(outside - _OUTSIDE_TENSORS):
        raise RootError(f"tensor {extra[0]!r} is not part of a plain timm ViT")
    if not blocks or sorted(blocks) != list(range(len(blocks))):
        raise RootError(f"the blocks are {sorted(blocks)}; expected 0, 1, … without a gap")
    for index, names in sorted(blocks.items()):
        if odd := sorted((names ^ _BLOCK_TENSORS) - _OPTIONAL_BLOCK_TENSORS):
            raise RootError(f"block {index} is not a plain ViT block; missing or not expected: {odd}")
    return len(blocks)


def _full_positions(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the position embedding with a class position.

    Where the class token has no position of its own (timm's ``no_embed_class``), it gets one of zeros: the same sum.
    """
    positions_1ND = tensors["pos_embed"]
    if positions_1ND.dim() != 3 or positions_1ND.shape[0] != 1:
        raise RootError(f"'pos_embed' has shape {list(positions_1ND.shape)}; expected [1, positions, width]")
    number = positions_1ND.shape[1]
    if number > 1 and isqrt(number - 1) ** 2 == number - 1:
        return positions_1ND
    if number > 0 and isqrt(number) ** 2 == number:
        return torch.cat((torch.zeros_like(positions_1ND[:, :1]), positions_1ND), dim=1)
    raise RootError(f"{number} positions are not a square grid, with or without a class position")


def _geometry(tensors: Mapping[str, torch.Tensor], depth: int, grid: int, settings: Settings) -> Vit:
    kernel = tensors["patch_embed.proj.weight"].shape
    if len(kernel) != 4 or kernel[1] != 3 or kernel[2] != kernel[3]:
        raise RootError(f"patches have shape {list(kernel)}; expected [width, 3, side, side]")
    dim, patch = kernel[0], kernel[2]
    if tensors["blocks.0.mlp.fc1.weight"].dim() != 2:
        raise RootError("tensor 'blocks.0.mlp.fc1.weight' is not a matrix")
    mlp_dim = tensors["blocks.0.mlp.fc1.weight"].shape[0]
    if list(tensors["blocks.0.mlp.fc2.weight"].shape) == [dim, mlp_dim // 2]:
        raise RootError("a gated MLP (tensor 'blocks.0.mlp.fc2.weight') cannot be used; expected a plain ViT")
    heads = settings.heads
    if heads is None and dim not in _WIDTHS_OF_64:
        raise RootError(f"the number of heads does not follow from width {dim}; name it, as in '?heads=6'")
    return Vit(
        dim=dim,
        depth=depth,
        heads=heads or dim // 64,
        patch_size=patch,
        image_size=grid * patch,
        mlp_dim=mlp_dim,
        normalisation=settings.normalisation,
        layer_scale="blocks.0.ls1.gamma" in tensors,
        qkv_bias="blocks.0.attn.qkv.bias" in tensors,
        eps=settings.eps,
    )


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
