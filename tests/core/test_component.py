from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.component import Component, Digest, Slot, extend_key, prefix_key, prefix_keys

NAMES = st.text(alphabet="abc_01", min_size=1, max_size=6)
CHAINS = st.lists(st.tuples(NAMES, NAMES.map(Digest)), max_size=6)


def test_components_are_values_that_cannot_change():
    slot = Slot("norm", "norm")
    assert Component(Digest("d"), slot, 3) == Component(Digest("d"), Slot("norm", "norm"), 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Component(Digest("d"), slot, 3).digest = Digest("e")


def test_prefix_keys_have_fixed_values():
    """The keys name activations on disk: a change of their definition would orphan every cache."""
    assert prefix_key("p") == hashlib.sha256(b"pipeline\0p").hexdigest()
    assert (
        extend_key(prefix_key("p"), "s", Digest("d")) == hashlib.sha256(f"{prefix_key('p')}\0s\0d".encode()).hexdigest()
    )


@given(NAMES, CHAINS)
def test_prefix_keys_are_one_more_than_slots_and_grow_by_extension(pipeline, chain):
    keys = prefix_keys(pipeline, chain)
    assert len(keys) == len(chain) + 1
    assert keys[0] == prefix_key(pipeline)
    for i, (slot, digest) in enumerate(chain):
        assert keys[i + 1] == extend_key(keys[i], slot, digest)


@given(NAMES, NAMES, CHAINS, CHAINS)
def test_prefix_keys_are_equal_exactly_as_far_as_the_chains_are(pipeline_a, pipeline_b, a, b):
    keys = list(zip(prefix_keys(pipeline_a, a), prefix_keys(pipeline_b, b), strict=False))
    for i, (key_a, key_b) in enumerate(keys):
        assert (key_a == key_b) == (pipeline_a == pipeline_b and a[:i] == b[:i])


def test_a_key_does_not_confuse_where_a_name_ends():
    key = prefix_key("p")
    assert extend_key(key, "ab", Digest("c")) != extend_key(key, "a", Digest("bc"))
