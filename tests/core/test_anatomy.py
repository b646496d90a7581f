from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.anatomy import block_index


@given(st.data())
def test_adapters_stand_directly_before_their_blocks(build, data):
    anatomy = build.vit(depth=data.draw(st.integers(1, 12)))
    layers = data.draw(st.integers(1, anatomy.depth))
    adapters = data.draw(st.sets(st.integers(0, layers - 1)))
    names = [slot.name for slot in anatomy.slots(layers, adapters)]
    expected = ["patch_embed", "tokens"]
    for index in range(layers):
        expected += [f"adapter_{index:02d}"] * (index in adapters) + [f"block_{index:02d}"]
    assert names == [*expected, "norm", "head"]


def test_layers_drop_from_the_top(vit):
    assert [slot.name for slot in vit.slots(2)] == ["patch_embed", "tokens", "block_00", "block_01", "norm", "head"]


def test_a_convolutional_chain(lite):
    assert [slot.kind for slot in lite.slots(5)] == ["stem", *["block"] * 5, "features", "head"]


@pytest.mark.parametrize("layers", [0, 5, -1])
def test_layers_outside_the_root_are_an_error(vit, layers):
    with pytest.raises(ValueError, match=f"num_layers is {layers}; expected 1 to 4"):
        vit.slots(layers)


def test_blocks_that_cannot_be_dropped(lite):
    with pytest.raises(ValueError, match="num_layers is 4; expected 5 to 5"):
        lite.slots(4)


@pytest.mark.parametrize("adapters", [{2}, {-1}, {0, 7}])
def test_adapters_outside_the_blocks_are_an_error(vit, adapters):
    with pytest.raises(ValueError, match="do not fit 2 blocks"):
        vit.slots(2, adapters)


def test_adapters_where_the_backbone_takes_none_are_an_error(lite):
    with pytest.raises(ValueError, match="takes no adapters"):
        lite.slots(5, {0})


def test_slot_names(build):
    assert build.block_slot(7).name == "block_07"
    assert build.adapter_slot(11).name == "adapter_11"
    assert (build.block_slot(7).kind, build.adapter_slot(7).kind, build.head.kind) == ("block", "adapter", "head")


def test_input_size_of_a_path_is_the_roots_unless_it_says_otherwise(vit):
    assert vit.image_size_of({}) == 32
    assert vit.image_size_of({"ds_image_size": 64}) == 64


def test_a_slots_share_is_its_flops_in_those_of_an_average_block(vit, build):
    uneven = replace(vit, block_flops=(30, 10))
    assert [uneven.share_of(build.block_slot(index)) for index in range(2)] == [1.5, 0.5]
    assert uneven.share_of(build.head) == uneven.share_of(build.adapter_slot(0)) == 0.0


def test_blocks_of_unknown_flops_are_equal(vit, build):
    unknown = replace(vit, block_flops=())
    assert [unknown.share_of(build.block_slot(index)) for index in range(2)] == [1.0, 1.0]


def test_the_index_of_a_blocks_slot_is_what_it_was_made_of(build):
    assert [block_index(build.block_slot(index)) for index in (0, 7, 123)] == [0, 7, 123]
