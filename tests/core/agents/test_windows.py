from __future__ import annotations

import pytest

from mu2net.core.agents.windows import PARAMETER_BOUND, STEP_OVERHEAD, Window, WindowCost, neighbours


@pytest.fixture
def deep(build):
    return build.vit(depth=12)


@pytest.fixture
def shallow(build):
    """Return the shape of a network of 12 blocks, the last of which computes the class token alone."""
    return build.vit(depth=12, flops=1150, block_flops=(*[100] * 11, 10))


def test_windows_are_bounded_neighbours(build, deep):
    root = build.root(deep)
    for first in range(15):
        slots = neighbours(deep, root, first)
        size = sum(root.component(slot).num_params for slot in slots)
        assert size <= max(PARAMETER_BOUND * deep.num_params, root.component(slots[0]).num_params)
        assert slots[0] == f"block_{min(first, 11):02d}"
        names = [component.slot.name for component in root.components]
        assert list(slots) == names[names.index(slots[0]) :][: len(slots)]


def test_a_slot_that_is_larger_than_the_bound_is_a_window_alone(build):
    small = build.vit(depth=2)
    assert neighbours(small, build.root(small), 0) == ("block_00",)


@pytest.mark.parametrize(
    ("slots", "num_layers", "below", "step"),
    [
        (("block_07",), 8, 740, 3 * 10),  # at whatever depth, the last block costs next to nothing
        (("block_11",), 12, 1140, 3 * 10),
        (("block_10", "block_11"), 12, 1040, 3 * 110),
        (("block_10",), 12, 1040, 3 * 100 + 2 * 10),  # gradients pass through the block above it
        (("block_02", "block_04"), 12, 240, 3 * 300 + 2 * 610),  # what lies between counts as trained
        (("patch_embed", "block_11", "head"), 12, 40, 3 * 1110),  # nothing below the stem is known
        (("adapter_10", "head"), 12, 1040, 3 * 100 + 2 * 10),
        (("head",), 12, 1140, 3 * 10),  # no block at all: as the last one
    ],
)
@pytest.mark.parametrize("seen", [1.0, 0.5])
def test_a_window_costs_what_lies_from_its_lowest_slot_on(shallow, slots, num_layers, below, step, seen):
    cost = WindowCost.of(Window(slots, num_layers), shallow, seen)
    assert cost.below == pytest.approx(below / 1150)
    assert cost.step == pytest.approx(seen * step / 1150 + STEP_OVERHEAD)
