from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from mu2net.core.component import Slot
from mu2net.core.path import Metrics, Mutation
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.store.codec import (
    metrics_from_json,
    metrics_to_json,
    mutations_from_json,
    mutations_to_json,
    proposal_from_json,
    proposal_to_json,
)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
floats = st.floats(allow_nan=False)
hparam_values = st.booleans() | st.integers(-(2**53), 2**53) | floats | names
mutations = st.builds(Mutation, names, st.none() | hparam_values, st.none() | hparam_values, st.booleans())
slots = st.builds(Slot, names, names)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
plans = st.builds(SlotPlan, slots, st.sampled_from(["share", "clone", "resample"]), digests) | st.builds(
    SlotPlan, slots, st.just("fresh"), st.none()
)
proposals = st.builds(
    Proposal,
    parent_id=names,
    origin=st.sampled_from(["own", "seed", "uniform", "root"]),
    slots=st.lists(plans, max_size=4).map(tuple),
    hparams=st.dictionaries(names, hparam_values, max_size=4),
    mutations=st.lists(mutations, max_size=3).map(tuple),
    rates=st.dictionaries(names, floats, max_size=3),
    inherits_momentum=st.booleans(),
    measures_statistics=st.booleans(),
)
metrics = st.builds(
    Metrics,
    quality=floats,
    flops=st.integers(0, 2**60),
    validations=st.lists(floats, max_size=4).map(tuple),
    examples=st.integers(0, 2**40),
    seconds=floats,
    test=st.none() | floats,
    extra=st.dictionaries(names, hparam_values | st.none() | st.lists(floats, max_size=2), max_size=3),
)


def through_text(data):
    return json.loads(json.dumps(data))


def same(left, right) -> bool:
    """Equal, and of the same types: True is not 1 and 1 is not 1.0; 0.0 is not -0.0."""
    return left == right and repr(left) == repr(right)


@given(proposals)
@settings(max_examples=100, deadline=None)
def test_proposals_come_back_exactly(proposal):
    assert same(proposal_from_json(through_text(proposal_to_json(proposal))), proposal)


@given(metrics)
@settings(max_examples=100, deadline=None)
def test_metrics_come_back_exactly(measured):
    assert same(metrics_from_json(through_text(metrics_to_json(measured))), measured)


@given(st.lists(mutations, max_size=4))
@settings(max_examples=50, deadline=None)
def test_mutations_come_back_exactly(drawn):
    assert same(mutations_from_json(through_text(mutations_to_json(drawn))), tuple(drawn))


def test_default_mappings_can_be_written():
    assert proposal_from_json(through_text(proposal_to_json(Proposal("root", "root", (), {})))).rates == {}
    assert metrics_from_json(through_text(metrics_to_json(Metrics(0.5, 1)))).extra == {}


def test_proposals_of_earlier_versions_keep_statistics():
    written = proposal_to_json(Proposal("root", "root", (), {}, measures_statistics=True))
    del written["measures_statistics"]
    assert not proposal_from_json(written).measures_statistics
