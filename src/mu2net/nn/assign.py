"""Tensors into modules without copies, and back out of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

from mu2net.errors import RootError
from mu2net.nn.backbone import Tensors

M = TypeVar("M", bound=nn.Module)


def shape_of(tensors: Mapping[str, torch.Tensor], name: str, owner: str) -> torch.Size:
    """Return the shape of one of a component's tensors.

    Args:
        tensors: The component.
        name: Local name of the tensor.
        owner: What the component is, for the message.

    Raises:
        RootError: The component has no such tensor.
    """
    if name not in tensors:
        raise RootError(f"{owner}: tensor {name!r} is missing; found {sorted(tensors)}")
    return tensors[name].shape


def assign(module: M, tensors: Mapping[str, torch.Tensor], owner: str) -> M:
    """Give a module on the meta device its tensors, themselves and not copies, and freeze it.

    Args:
        module: A module whose parameters and buffers lie on the meta device.
        tensors: One tensor for every parameter and buffer, by name.
        owner: What the component is, for the message.

    Raises:
        RootError: A tensor is missing, unexpected, or of another shape.
    """
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise RootError(f"{owner}: tensors do not fit; missing {missing}, not expected {extra}")
    for name, like in expected.items():
        if tensors[name].shape != like.shape:
            found = list(tensors[name].shape)
            raise RootError(f"{owner}: tensor {name!r} has shape {found}; expected {list(like.shape)}")
    module.requires_grad_(False)
    module.load_state_dict(dict(tensors), strict=True, assign=True)
    return module


def read(module: nn.Module) -> Tensors:
    """Return copies of a module's parameters and buffers: contiguous, float32, on the CPU, without gradients."""
    return {
        name: torch.empty(tensor.shape, dtype=torch.float32).copy_(tensor.detach())
        for name, tensor in module.state_dict().items()
    }
