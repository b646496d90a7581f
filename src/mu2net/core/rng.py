"""Random generators keyed by what they are for, so that a resumed search draws the same numbers."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def seed_of(*key: int | str) -> int:
    """Return a 128-bit seed for a key; equal keys give equal seeds.

    Args:
        key: What the randomness is for, for instance ``(system_seed, "digits", cycle, generation, child)``.
    """
    canonical = json.dumps(list(key), separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:16], "big")


def generator(*key: int | str) -> np.random.Generator:
    """Return a generator for a key; equal keys give equal streams.

    Args:
        key: What the randomness is for.
    """
    return np.random.Generator(np.random.PCG64(seed_of(*key)))
