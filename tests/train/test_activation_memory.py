import numpy as np
import pytest
import torch

from mu2net.core.component import PrefixKey
from mu2net.train.activation_entry import Entry, Layout
from mu2net.train.activation_memory import RowMemories, RowMemory


def make_entry(name="a", rows=10):
    return Entry(PrefixKey(name), rows, Layout((2,), torch.float32))


def test_rows_are_held_one_by_one():
    memory = RowMemory(make_entry())
    content = np.arange(16, dtype=np.uint8).reshape(2, 8)
    memory.put(np.array([7, 2]), content)
    assert memory.holds(np.array([2, 3, 7])).tolist() == [True, False, True]
    out = np.zeros((3, 8), np.uint8)
    memory.take(np.array([2, 7, 2]), out)
    assert np.array_equal(out, content[[1, 0, 1]])


def test_what_is_taken_is_a_copy():
    memory, out = RowMemory(make_entry()), np.zeros((1, 8), np.uint8)
    memory.put(np.array([0]), np.ones((1, 8), np.uint8))
    memory.take(np.array([0]), out)
    out[:] = 9
    again = np.zeros((1, 8), np.uint8)
    memory.take(np.array([0]), again)
    assert again.max() == 1


def test_dropped_memory_holds_nothing():
    memory = RowMemory(make_entry())
    memory.put(np.array([0]), np.ones((1, 8), np.uint8))
    memory.drop()
    memory.put(np.array([1]), np.ones((1, 8), np.uint8))
    assert not memory.is_live
    assert not memory.holds(np.arange(10)).any()


@pytest.mark.parametrize(("limit", "entry_limit"), [(80, 79), (79, 80)])
def test_large_entries_are_not_held(limit, entry_limit):
    assert RowMemories(limit, entry_limit).of(make_entry()) is None


def test_those_least_recently_asked_for_are_dropped():
    memories = RowMemories(200)
    first, second = memories.of(make_entry("a")), memories.of(make_entry("b"))
    assert memories.of(make_entry("a")) is first
    third = memories.of(make_entry("c"))
    assert [memory.is_live for memory in (first, second, third)] == [True, False, True]
    assert memories.size == 160
    assert memories.of(make_entry("b")) is not second
    assert not first.is_live


def test_equal_keys_with_other_rows_do_not_share():
    memories = RowMemories(1000)
    assert memories.of(make_entry("a", 10)) is not memories.of(make_entry("a", 11))
