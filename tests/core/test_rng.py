from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.rng import generator, seed_of

KEYS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=5)


def test_seeds_have_fixed_values():
    """A resumed search, also of a later version, must draw the numbers of the interrupted one."""
    assert seed_of(7, "digits", 0, 1, 2) == 325582258782720522601667124744404036360


@given(KEYS, KEYS)
def test_seeds_are_equal_exactly_when_the_keys_are(a, b):
    assert (seed_of(*a) == seed_of(*b)) == (a == b)
    assert 0 <= seed_of(*a) < 2**128


def test_text_and_numbers_are_different_keys():
    assert seed_of(1) != seed_of("1")
    assert seed_of(1, 23) != seed_of(12, 3)
    assert seed_of("a", "b") != seed_of("a,b")


@given(KEYS)
def test_generators_repeat_for_a_key_and_differ_between_keys(key):
    first = generator(*key).random(4).tolist()
    assert first == generator(*key).random(4).tolist()
    assert first != generator(*key, 0).random(4).tolist()
