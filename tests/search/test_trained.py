from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mu2net.core.component import Digest
from mu2net.core.path import Metrics
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.nn.roots import backbone_from_config
from mu2net.search.trained import draft_path, new_components
from mu2net.train.child import TrainedChild


@pytest.fixture
def child(store):
    """A child of the root that clones the norm, has a fresh head, and shares the rest."""
    backbone, root = backbone_from_config(store.config.backbone), store.root()
    plans = [
        SlotPlan(part.slot, "clone" if part.slot.name == "norm" else "share", part.digest) for part in root.components
    ]
    head = backbone.anatomy.slots(2)[-1]
    proposal = Proposal("root", "root", (*plans, SlotPlan(head, "fresh", None)), {"opt_lr": 0.1})
    norm = store.load(root.component("norm").digest)
    tensors = {"norm": norm, "head": backbone.fresh(head, 0, num_classes=3)}
    momentum = {"norm": {name: torch.zeros_like(value) for name, value in norm.items()}, "head": {}}
    return backbone, proposal, TrainedChild("one/0/0/0", tensors, momentum, Metrics(0.5, 1))


def test_only_what_was_trained_is_new(child, store):
    norm, head = new_components(*child)
    assert (norm.slot.name, norm.num_params) == ("norm", 32)
    assert norm.source_digest == store.root().component("norm").digest
    assert set(norm.momentum) == {"weight", "bias"}
    assert (head.slot.name, head.num_params, head.source_digest, head.momentum) == ("head", 51, None, None)


def test_a_draft_has_every_slot_and_is_charged_for_what_it_trained(child, store):
    population = Population.start("one", store.root(), ())
    draft = draft_path(population, "mu2net", child[1], child[2], new_components(*child))
    assert [part.slot.name for part in draft.components][-2:] == ["norm", "head"]
    assert draft.digests[:-2] == store.root().digests[:-1]
    assert {part.slot.name for part in draft.components if part.task == "one"} == {"norm", "head"}
    assert (draft.id, draft.agent, draft.quality) == ("one/0/0/0", "mu2net", 0.5)


def test_a_component_that_no_path_has_cannot_be_shared(child, store):
    _, proposal, result = child
    plans = (SlotPlan(proposal.slots[0].slot, "share", Digest("0" * 64)), *proposal.slots[1:])
    population = Population.start("one", store.root(), ())
    with pytest.raises(KeyError, match="patch_embed"):
        draft_path(population, "mu2net", replace(proposal, slots=plans), result, new_components(*child))
