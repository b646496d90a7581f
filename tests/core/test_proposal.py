from __future__ import annotations

import pytest

from mu2net.core.proposal import Proposal, SlotPlan


def test_everything_but_share_trains(build):
    digest = build.digest("x")
    plans = (
        SlotPlan(build.block_slot(0), "share", digest),
        SlotPlan(build.block_slot(1), "clone", digest),
        SlotPlan(build.block_slot(2), "resample", digest),
        SlotPlan(build.head, "fresh", None),
    )
    proposal = Proposal("root", "seed", plans, {})
    assert [slot.name for slot in proposal.trainable] == ["block_01", "block_02", "head"]


@pytest.mark.parametrize(
    ("action", "has_digest"), [("fresh", True), ("share", False), ("clone", False), ("resample", False)]
)
def test_an_action_that_does_not_fit_its_digest_is_an_error(build, action, has_digest):
    with pytest.raises(ValueError, match=rf"slot 'head': action '{action}'"):
        SlotPlan(build.head, action, build.digest("x") if has_digest else None)
