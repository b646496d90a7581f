"""Slots, components and prefix keys: what a path is made of.

A component's name is the SHA-256 of its canonical bytes, so sharing is equality of digests.
The prefix key of a slot names the activation behind it: two paths with the same key compute
the same activation there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NewType

Digest = NewType("Digest", str)
"""SHA-256 of a component's canonical bytes, 64 lower-case hexadecimal digits."""

PrefixKey = NewType("PrefixKey", str)
"""SHA-256 that names the activation after a slot of a path, 64 lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the network and the computation done there.

    Args:
        name: Unique in a path, for instance ``"block_07"``.
        kind: What is computed, for instance ``"block"``.
    """

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Component:
    """A named block of parameters in a slot of a path; immutable.

    Args:
        digest: SHA-256 of the parameters' canonical bytes.
        slot: The place that it fills.
        num_params: Number of scalar parameters.
        task: The task whose data trained it last; ``None`` for the root's.
    """

    digest: Digest
    slot: Slot
    num_params: int
    task: str | None = None


def prefix_key(pipeline: str) -> PrefixKey:
    """Return key(0), the key of the images that enter the network.

    Args:
        pipeline: Canonical description of the input pipeline (data, size, normalisation, arithmetic).
    """
    return PrefixKey(hashlib.sha256(b"pipeline\0" + pipeline.encode()).hexdigest())


def extend_key(key: PrefixKey, slot: str, digest: Digest) -> PrefixKey:
    """Return key(i) from key(i-1): the key of the activation after one more slot.

    Args:
        key: Key of the activation that enters the slot.
        slot: Name of the slot.
        digest: Digest of the component there.
    """
    return PrefixKey(hashlib.sha256(f"{key}\0{slot}\0{digest}".encode()).hexdigest())


def prefix_keys(pipeline: str, chain: Iterable[tuple[str, Digest]]) -> list[PrefixKey]:
    """Return key(0) … key(n) for a chain of n (slot name, digest) pairs.

    Args:
        pipeline: Canonical description of the input pipeline.
        chain: Slot names and digests, in the order of computation.
    """
    keys = [prefix_key(pipeline)]
    for slot, digest in chain:
        keys.append(extend_key(keys[-1], slot, digest))
    return keys
