from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.rng import generator
from mu2net.data.splits import KEEP, carve
from mu2net.errors import DataError

MISSING = ("test", "validation")


def keys_of(count: int, seed: int = 0) -> np.ndarray:
    return generator("keys", seed).integers(0, 2**64, count, dtype=np.uint64)


@st.composite
def tasks(draw):
    counts = draw(st.lists(st.integers(2, 120), min_size=1, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    seed = draw(st.integers(0, 1000))
    return generator("order", seed).permutation(labels), keys_of(len(labels), seed)


@st.composite
def grouped_tasks(draw):
    labels, keys = draw(tasks())
    num_groups = draw(st.integers(1, max(1, len(labels))))
    groups = generator("groups", draw(st.integers(0, 1000))).integers(0, num_groups, len(labels))
    return labels, groups, keys


def check_partition(rows, count):
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(count))
    assert all((np.diff(its) > 0).all() for its in rows.values())


@given(tasks())
def test_without_groups_every_class_gives_its_five_percent(task):
    labels, keys = task
    counts = np.bincount(labels)
    try:
        rows = carve(labels, np.arange(len(labels)), keys, MISSING)
    except DataError:
        assert counts.max() < KEEP + 2
        return
    check_partition(rows, len(labels))
    for label, count in enumerate(counts):
        share = max(1, int(count * 0.05 + 0.5))
        test = min(share, count - KEEP)
        assert (labels[rows["test"]] == label).sum() == test
        assert (labels[rows["validation"]] == label).sum() == min(share, count - KEEP - test)
        assert (labels[rows["train"]] == label).sum() >= KEEP


@given(tasks())
def test_each_class_gives_the_first_of_its_shuffle(task):
    labels, keys = task
    try:
        rows = carve(labels, np.arange(len(labels)), keys, ("test",))
    except DataError:
        return
    for label in np.unique(labels):
        given_away = keys[rows["test"][labels[rows["test"]] == label]]
        kept = keys[rows["train"][labels[rows["train"]] == label]]
        assert not len(given_away) or given_away.max() <= kept.min()


@given(tasks(), st.integers(0, 100))
def test_the_order_of_the_rows_does_not_matter(task, seed):
    labels, keys = task
    order = generator("other order", seed).permutation(len(labels))
    try:
        rows = carve(labels, np.arange(len(labels)), keys, MISSING)
    except DataError:
        return
    again = carve(labels[order], np.arange(len(labels)), keys[order], MISSING)
    assert {role: set(its) for role, its in rows.items()} == {role: set(order[its]) for role, its in again.items()}


@given(grouped_tasks())
def test_groups_are_never_cut(task):
    labels, groups, keys = task
    try:
        rows = carve(labels, groups, keys, MISSING)
    except DataError:
        return
    check_partition(rows, len(labels))
    of = {role: set(groups[its].tolist()) for role, its in rows.items()}
    assert not of["train"] & of["validation"]
    assert not of["train"] & of["test"]
    assert not of["validation"] & of["test"]
    assert (np.bincount(labels[rows["train"]], minlength=labels.max() + 1) >= KEEP).all()


def test_many_small_groups_are_stratified():
    rng = generator("writers")
    labels = rng.integers(0, 10, 4000)
    groups = rng.integers(0, 400, 4000)
    rows = carve(labels, groups, keys_of(4000), MISSING)
    for role in MISSING:
        counts = np.bincount(labels[rows[role]], minlength=10)
        assert (abs(counts - np.bincount(labels) * 0.05) <= 5).all()


def test_a_group_that_overshoots_is_taken_if_it_brings_the_share_nearer():
    labels = np.repeat([0, 1], [99, 98])
    rows = carve(labels, np.concatenate([np.arange(99) // 3, 500 + np.arange(98) // 7]), keys_of(197), ("test",))
    assert (labels[rows["test"]] == 0).sum() == 6  # 3 is two short of 5, 6 is one over
    assert (labels[rows["test"]] == 1).sum() == 7


def test_a_class_of_few_large_groups_is_covered():
    labels = np.repeat([0, 1], [200, 90])
    groups = np.concatenate([np.arange(200), 1000 + np.arange(90) // 30])
    rows = carve(labels, groups, keys_of(290), MISSING)
    assert [(labels[rows[role]] == 1).sum() for role in ("train", "test", "validation")] == [30, 30, 30]
    assert [(labels[rows[role]] == 0).sum() for role in ("train", "test", "validation")] == [180, 10, 10]


def test_too_few_images_are_an_error_that_says_what_to_do():
    with pytest.raises(DataError, match=r"no validation split .* from the 6 training images.*validation source"):
        carve(np.array([0, 0, 0, 1, 1, 1]), np.arange(6), keys_of(6), MISSING)
    rows = carve(np.array([0, 0, 0, 1, 1, 1]), np.arange(6), keys_of(6), ("validation",))
    assert len(rows["validation"]) == 2


def test_one_group_per_class_cannot_be_carved():
    with pytest.raises(DataError, match="groups must not be cut"):
        carve(np.repeat([0, 1], 50), np.repeat([7, 9], 50), keys_of(100), ("validation",))
