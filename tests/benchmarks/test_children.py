from __future__ import annotations

import pytest
import torch

from benchmarks.children import (
    Budget,
    chain_of,
    logit_difference,
    pipeline_of,
    plain_training,
    propose,
    steps_per_interval,
    train,
)
from benchmarks.measure import TOLERANCE, check_same
from benchmarks.workplace import Setting, make_workplace
from mu2net.nn.roots import load_root
from mu2net.search.executor import LocalExecutor

BUDGET = Budget(intervals=2, examples=256, precision="float32")


def trained_by_the_plain_loop(place, child):
    loop = plain_training(place, child, BUDGET)
    result = loop.run(BUDGET.intervals, steps_per_interval(place, BUDGET))
    loop.network.load_state_dict(result.state)
    return loop.network, result


@pytest.mark.parametrize(("agent", "augments"), [("linear", False), ("freeze:2", False), ("finetune", True)])
def test_both_sides_train_the_same_child_alike(place, agent, augments):
    child = propose(place, agent, 1, 0, augments=augments)[0]
    run = train(place, LocalExecutor(place.store), [child], BUDGET)
    ours = run.results[child.job.id]
    network, plain = trained_by_the_plain_loop(place, child)
    assert len(run.intervals[child.job.id]) == BUDGET.intervals
    assert plain.accuracies == pytest.approx(ours.metrics.validations, abs=0.01)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = chain_of(place, child.job, ours.tensors)(images)
        assert expected.abs().max() > 0.01
        assert torch.allclose(network(images), expected, atol=1e-4)


def test_a_generation_trains_alike_too(place):
    children = propose(place, "mu2net", 3, 1, augments=False)
    run = train(place, LocalExecutor(place.store), children, BUDGET)
    for child in children:
        _, plain = trained_by_the_plain_loop(place, child)
        assert plain.accuracies == pytest.approx(run.results[child.job.id].metrics.validations, abs=0.01)


def test_runs_of_a_baseline_differ_in_their_batches_and_siblings_share_theirs(place):
    assert len({child.key for child in propose(place, "freeze:1", 3, 0, augments=False)}) == 3
    assert len({child.key for child in propose(place, "mu2net", 3, 0, augments=False)}) == 1


def test_proposals_keep_the_image_pipeline_and_mu(place):
    for child in propose(place, "mu2net", 8, 3, augments=True):
        hparams = child.job.proposal.hparams
        assert (hparams["mu"], hparams["ds_image_size"], hparams["ds_crop"]) == (0.2, 16, True)
    assert pipeline_of(place.backbone, augments=False).is_deterministic


def test_networks_that_differ_are_refused(place):
    child = propose(place, "finetune", 1, 0, augments=False)[0]
    assert logit_difference(place, child.job) <= TOLERANCE
    place.store.load = lambda digest, load=place.store.load: {
        name: value + 0.1 * torch.rand_like(value) for name, value in load(digest).items()
    }
    try:
        with pytest.raises(ValueError, match="logits differ"):
            check_same(place, [child])
    finally:
        del place.store.load


def test_lite0_computes_the_same_in_both(tmp_path):
    root = "efficientnet-lite0"
    pipelines = (pipeline_of(load_root(root, image_size=64).backbone, augments=False),)
    place = make_workplace(tmp_path / "place", Setting(root, "demo:digits", 0, 64), None, pipelines, 0)
    check_same(place, propose(place, "freeze:8", 1, 0, augments=False))
