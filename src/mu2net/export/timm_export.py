"""A path with timm's key names: a checkpoint that ``timm`` loads, where the path is a plain vision transformer."""

from __future__ import annotations

from typing import Any

from mu2net.export.portable import TaskModel
from mu2net.nn.backbone import Backbone, Tensors
from mu2net.nn.vit import Vit

_BASE = "vit_base_patch16_224"
"""The timm architecture whose arguments are all overridden."""

_TIMM_EPS = 1e-6

DECODING = "upright by EXIF, transparency on white, 16-bit gray divided by 257, RGB"
"""What happens to a photograph before it is squeezed."""


def why_not_plain(backbone: Backbone, model: TaskModel) -> str | None:
    """Return why a path is no plain vision transformer as timm has it; ``None`` where it is."""
    if not isinstance(backbone, Vit):
        return f"its root is {backbone.anatomy.backbone}, no vision transformer"
    if any(part.slot.kind == "adapter" for part, _ in model.components):
        return "it has adapters"
    if backbone.eps != _TIMM_EPS:
        return f"its LayerNorms have epsilon {backbone.eps:g}, timm's have {_TIMM_EPS:g}"
    inner = {tensors["mlp.fc1.weight"].shape[0] for part, tensors in model.components if part.slot.kind == "block"}
    return None if len(inner) == 1 else f"its MLPs have the widths {sorted(inner)}"


def timm_tensors(model: TaskModel) -> Tensors:
    """Return the tensors of a plain path under timm's names."""
    found: Tensors = {}
    block = 0
    for part, tensors in model.components:
        match part.slot.kind:
            case "block":
                prefix, block = f"blocks.{block}.", block + 1
            case "tokens":
                prefix = ""
            case _:
                prefix = f"{part.slot.name}."
        found |= {f"{prefix}{name}": tensor.contiguous() for name, tensor in tensors.items()}
    return found


def own_tensors(model: TaskModel) -> Tensors:
    """Return the tensors of any path under the names of its slots."""
    return {
        f"{part.slot.name}.{name}": tensor.contiguous()
        for part, tensors in model.components
        for name, tensor in tensors.items()
    }


def preprocessing(backbone: Backbone, model: TaskModel) -> dict[str, Any]:
    """Return how an image becomes the network's input, in the terms of timm: RGB in 0..1."""
    return {
        "input_size": [3, model.side, model.side],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": [value / 255 for value in backbone.normalisation.mean],
        "std": [value / 255 for value in backbone.normalisation.std],
    }


def timm_config(backbone: Vit, model: TaskModel) -> dict[str, Any]:
    """Return the ``config.json`` with which timm builds a plain path."""
    blocks = [tensors for part, tensors in model.components if part.slot.kind == "block"]
    arguments = {
        "img_size": model.side,
        "patch_size": backbone.patch_size,
        "embed_dim": backbone.dim,
        "depth": len(blocks),
        "num_heads": backbone.heads,
        "mlp_ratio": blocks[0]["mlp.fc1.weight"].shape[0] / backbone.dim,
        "qkv_bias": "attn.qkv.bias" in blocks[0],
        "init_values": 1.0 if "ls1.gamma" in blocks[0] else None,
        "class_token": True,
        "global_pool": "token",
    }
    classes = list(model.task.classes)
    return {
        "architecture": _BASE,
        "num_classes": len(classes),
        "num_features": backbone.dim,
        "global_pool": "token",
        "model_args": arguments,
        "pretrained_cfg": {
            **preprocessing(backbone, model),
            "fixed_input_size": True,
            "pool_size": None,
            "classifier": "head",
            "first_conv": "patch_embed.proj",
            "num_classes": len(classes),
            "label_names": classes,
        },
    }
