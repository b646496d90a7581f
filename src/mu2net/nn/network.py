"""Many paths as one network: what they share is computed once.

Prefix keys make a trie of the paths' slots: two paths with the same key(i) have the same activation after slot i. A
batch of images runs through that trie, every image only where a path that was asked for it leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import nn

from mu2net.core.component import Digest, PrefixKey, Slot, prefix_keys
from mu2net.core.path import Path
from mu2net.errors import UnknownNameError
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import class_token_block, name_computation, run_slot

Rows = tuple[int, ...]
"""Which images of a batch, ascending."""


@dataclass(frozen=True, slots=True)
class Part:
    """One slot of a route.

    Args:
        slot: The slot.
        digest: The component that fills it.
        computed_as: What is computed there, see ``Chain.computed_as``.
        variant: Which variant of the component's module computes, see ``Modules``; ``entry`` of the route tells it too.
    """

    slot: Slot
    digest: Digest
    computed_as: str
    variant: str = ""


@dataclass(frozen=True)
class Route:
    """A path as the network sees it: which slots run on what enters.

    Args:
        name: What the path is called among others, for instance its task.
        entry: Canonical description of what enters: size and normalisation of the images, and the arithmetic.
        parts: The slots in the order of computation.
    """

    name: str
    entry: str
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, name: str, entry: str, path: Path, backbone: Backbone, variant: str = "") -> Route:
        """Return the route of a path; none of its components is loaded.

        Args:
            name: What the path is called among others.
            entry: Canonical description of what enters.
            path: The path.
            backbone: What its slots compute.
            variant: Which variant of the components' modules computes.
        """
        slots = [component.slot for component in path.components]
        block = class_token_block(slots, head_reads_tokens=not backbone.is_convolutional)
        parts = [
            Part(
                component.slot,
                component.digest,
                name_computation(component.slot, is_class_token_block=index == block),
                variant,
            )
            for index, component in enumerate(path.components)
        ]
        return cls(name, f"{entry}|{variant}" if variant else entry, tuple(parts))

    @cached_property
    def keys(self) -> tuple[PrefixKey, ...]:
        """Key(0), of the images, to key(n), of the logits."""
        return tuple(prefix_keys(self.entry, [(part.computed_as, part.digest) for part in self.parts]))


@dataclass(frozen=True)
class Entry:
    """What enters the network for one description of it.

    Args:
        inputs: Returns the normalised images of some rows, float32 ``[rows, 3, side, side]`` on the device.
        arithmetic: Opens a context in which the slots compute.
    """

    inputs: Callable[[Rows], torch.Tensor]
    arithmetic: Callable[[], AbstractContextManager[None]]


@dataclass
class _Node:
    """A slot of the trie; ``part`` is ``None`` where images enter, ``ends`` are the routes whose last slot it is."""

    part: Part | None = None
    children: dict[PrefixKey, _Node] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answers:
    """What a network computed.

    Args:
        logits: For every route that was asked for, float32 ``[rows, classes]`` on the device, in the order of its rows.
        asked: Slots times images of all routes, each by itself.
        computed: Slots times images that ran.
    """

    logits: Mapping[str, torch.Tensor]
    asked: int
    computed: int

    @property
    def reuse(self) -> float:
        """Share of the work of separate networks that was saved, in [0, 1[."""
        return 1.0 - self.computed / self.asked if self.asked else 0.0


class Network:
    """The trie of some routes.

    A route's logits differ from those of its path alone by rounding only: a matrix product may add up in another order
    where it has other rows.

    Args:
        routes: The routes, with different names.
        module_of: Returns the module of a part, in evaluation mode, on the device.
        channels_last: Whether feature maps are laid out channels-last.

    Raises:
        ValueError: Two routes have the same name.
    """

    def __init__(
        self, routes: Iterable[Route], module_of: Callable[[Part], nn.Module], *, channels_last: bool = False
    ) -> None:
        self._module_of, self._channels_last = module_of, channels_last
        self.routes: dict[str, Route] = {}
        self._entries: dict[str, _Node] = {}
        for route in routes:
            if route.name in self.routes:
                raise ValueError(f"two routes are called {route.name!r}")
            self.routes[route.name] = route
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._entries.setdefault(route.entry, _Node())
        node.names.append(route.name)
        for part, key in zip(route.parts, route.keys[1:], strict=True):
            node = node.children.setdefault(key, _Node(part))
            node.names.append(route.name)
        node.ends.append(route.name)

    @property
    def num_slots(self) -> int:
        """Slots of the trie: what one image costs where all routes are asked for."""
        return sum(len(keys) for keys in self._keys().values())

    def _keys(self) -> dict[str, set[PrefixKey]]:
        found: dict[str, set[PrefixKey]] = {entry: set() for entry in self._entries}
        for route in self.routes.values():
            found[route.entry].update(route.keys[1:])
        return found

    @torch.inference_mode()
    def run(self, entries: Mapping[str, Entry], wanted: Mapping[str, Sequence[int]]) -> Answers:
        """Return the logits of some routes for some images each.

        Args:
            entries: What enters, for every description that a route which is asked for has.
            wanted: Names of routes, and for each the images of the batch, ascending and each once; none is no work.

        Raises:
            UnknownNameError: There is no such route.
            ValueError: Rows are not ascending, or an entry is missing.
        """
        rows = {name: self._checked(name, tuple(images)) for name, images in wanted.items()}
        rows = {name: images for name, images in rows.items() if images}
        missing = {self.routes[name].entry for name in rows} - set(entries)
        if missing:
            raise ValueError(f"nothing is given for the entries {sorted(missing)}")
        logits: dict[str, torch.Tensor] = {}
        computed = 0
        for description, node in self._entries.items():
            needed = _union(node, rows)
            if needed:
                entry = entries[description]
                with entry.arithmetic():
                    computed += self._run_from(node, entry.inputs(needed), needed, rows, logits)
        asked = sum(len(images) * len(self.routes[name].parts) for name, images in rows.items())
        return Answers(logits, asked, computed)

    def _checked(self, name: str, images: Rows) -> Rows:
        if name not in self.routes:
            raise UnknownNameError("route", name, self.routes)
        if any(one >= other for one, other in pairwise(images)):
            raise ValueError(f"the images of route {name!r} are not ascending: {images}")
        return images

    def _run_from(
        self, entry: _Node, images: torch.Tensor, here: Rows, rows: Mapping[str, Rows], logits: dict[str, torch.Tensor]
    ) -> int:
        """Run all that lies behind an entry, depth first, and return slots times images.

        An activation lives as long as a slot that reads it waits.
        """
        computed, waiting = 0, [(entry, images, here)]
        while waiting:
            node, activation, here = waiting.pop()
            if node.part is not None:
                if self._channels_last and activation.dim() == 4:
                    activation = activation.contiguous(memory_format=torch.channels_last)
                activation = run_slot(self._module_of(node.part), activation, node.part.computed_as)
                computed += len(here)
            for name in node.ends:
                if name in rows:
                    logits[name] = _select(activation, here, rows[name]).float()
            waiting += [
                (child, _select(activation, here, needed), needed)
                for child in node.children.values()
                if (needed := _union(child, rows))
            ]
        return computed


def _union(node: _Node, rows: Mapping[str, Rows]) -> Rows:
    """Return the images that any route through a node is asked for."""
    asked = {rows[name] for name in node.names if name in rows}
    return asked.pop() if len(asked) == 1 else tuple(sorted(set().union(*asked)))


def _select(activation: torch.Tensor, here: Rows, needed: Rows) -> torch.Tensor:
    if needed == here:
        return activation
    places = {row: place for place, row in enumerate(here)}
    return activation[torch.tensor([places[row] for row in needed], device=activation.device)]
