"""Modules of components: loaded when they are first needed, shared by all paths, and let go of by least recent use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from threading import Lock

import torch
from torch import nn

from mu2net.core.component import Digest, Slot
from mu2net.nn.backbone import Backbone, Tensors


def module_bytes(module: nn.Module) -> int:
    """Return the room of a module's parameters and buffers, in bytes."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


Key = tuple[Slot, Digest, str]
"""A slot, the component that fills it, and the variant of its module."""


class Modules:
    """The modules that are in memory, one for every component and slot; any number of threads may ask at once.

    Args:
        backbone: What the slots compute.
        load: Returns the tensors of a component, owned by the caller, and raises where it is damaged.
        device: Where the modules live.
        limit: Most bytes of their parameters; ``None`` for no limit. What a slot needs at the moment is loaded even
            where it is larger than that by itself.
        variants: What changes a module after it was filled, for instance into other arithmetic, by name; each returns
            the module, or another one.
    """

    def __init__(
        self,
        backbone: Backbone,
        load: Callable[[Digest], Tensors],
        device: torch.device,
        *,
        limit: int | None = None,
        variants: Mapping[str, Callable[[nn.Module], nn.Module]] | None = None,
    ) -> None:
        self._backbone, self._load, self._device, self._limit = backbone, load, device, limit
        self._variants = variants or {}
        self._modules: OrderedDict[Key, tuple[nn.Module, int]] = OrderedDict()
        self._lock = Lock()
        self.num_bytes = self.loads = 0

    def __len__(self) -> int:
        return len(self._modules)

    def get(self, slot: Slot, digest: Digest, variant: str = "") -> nn.Module:
        """Return the module of a component in a slot, in evaluation mode, on the device.

        Args:
            slot: The slot.
            digest: The component.
            variant: Name of a variant; ``""`` for the module as it is.

        Raises:
            ComponentError: It is missing or damaged.
            KeyError: There is no such variant.
            RootError: Its tensors do not fit the slot.
        """
        key = (slot, digest, variant)
        with self._lock:
            if key not in self._modules:
                module = self._backbone.module(slot, self._load(digest)).to(self._device).eval()
                module = self._variants[variant](module) if variant else module
                self._modules[key] = (module, module_bytes(module))
                self.num_bytes += self._modules[key][1]
                self.loads += 1
                self._make_room()
            self._modules.move_to_end(key)
            return self._modules[key][0]

    def _make_room(self) -> None:
        while self._limit is not None and self.num_bytes > self._limit and len(self._modules) > 1:
            _, (_, size) = self._modules.popitem(last=False)
            self.num_bytes -= size

    def keep(self, wanted: Collection[Key]) -> None:
        """Let go of all modules but some.

        Args:
            wanted: Those that stay.
        """
        with self._lock:
            for key in [key for key in self._modules if key not in wanted]:
                self.num_bytes -= self._modules.pop(key)[1]

    def clear(self) -> None:
        """Let go of all modules."""
        with self._lock:
            self._modules.clear()
            self.num_bytes = 0
