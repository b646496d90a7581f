from __future__ import annotations

import pytest

from benchmarks.children import propose
from benchmarks.roofline import of_this_machine, slot_flops, training_flops
from mu2net.core.component import Digest, Slot
from mu2net.core.proposal import Proposal, SlotPlan


def proposal(*actions: str) -> Proposal:
    digest = Digest("0" * 64)
    plans = [SlotPlan(Slot(str(index), "block"), action, digest) for index, action in enumerate(actions)]
    return Proposal("root", "root", tuple(plans), {})


@pytest.mark.parametrize(
    ("actions", "uncached", "cached"),
    [
        (("share", "share", "clone"), 1 + 10 + 300, 300),
        (("share", "clone", "share"), 1 + 30 + 200, 30 + 200),
        (("clone", "share", "clone"), 3 + 20 + 300, 3 + 20 + 300),
    ],
)
def test_a_frozen_slot_costs_one_unit_below_two_above_and_a_trainable_one_three(actions, uncached, cached):
    flops = {"0": 1, "1": 10, "2": 100}
    assert training_flops(proposal(*actions), flops, is_cached=False) == uncached
    assert training_flops(proposal(*actions), flops, is_cached=True) == cached


def test_the_flops_of_the_slots_add_up_to_those_of_the_root(place):
    child = propose(place, "finetune", 1, 0, augments=False)[0]
    plain, ours = (slot_flops(place, child, is_plain=is_plain) for is_plain in (True, False))
    assert sum(ours.values()) - ours["head"] == place.backbone.anatomy.flops
    assert {slot for slot in ours if ours[slot] != plain[slot]} == {"block_02"}
    assert ours["block_02"] < plain["block_02"]


def test_rows_of_other_processors_are_not_compared_with_this_one():
    rows = {"head": {"processor": "here"}, "all": {"processor": "there"}, "old": {}}
    assert of_this_machine(rows, {"processor": "here"}) == {"head": {"processor": "here"}}
