from __future__ import annotations

import pytest

from mu2net.core.agents import make_agent
from mu2net.core.agents.baselines import Baseline
from mu2net.core.population import Population
from mu2net.core.rng import generator
from mu2net.errors import ConfigError, RangeError

VIT = ["patch_embed", "tokens", "block_00", "block_01", "block_02", "block_03", "norm", "head"]
LITE = ["stem", "block_00", "block_01", "block_02", "block_03", "block_04", "features", "head"]
ADAPTERS = ["adapter_00", "adapter_01", "adapter_02", "adapter_03"]


@pytest.fixture
def run(build):
    """Return one run of a baseline from the root."""

    def make(name, anatomy, n=1, **changes):
        agent = make_agent(name, anatomy, build.scoring(anatomy), changes)
        population = Population("a", build.root(anatomy))
        return agent.propose(agent.begin(population, generator(0)), generator(0), n)

    return make


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("finetune", VIT),
        ("linear", ["norm", "head"]),
        ("freeze:0", VIT[2:]),
        ("freeze:1", VIT[3:]),
        ("freeze:3", VIT[5:]),
        ("freeze:4", ["norm", "head"]),
        ("adapters:8", [*ADAPTERS, "norm", "head"]),
    ],
)
def test_slots_that_train_in_a_vit(run, vit, name, trained):
    (proposal,) = run(name, vit)
    assert [slot.name for slot in proposal.trainable] == trained


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("finetune", LITE),
        ("linear", ["head"]),
        ("freeze:0", LITE[1:]),
        ("freeze:4", ["block_04", "features", "head"]),
        ("freeze:5", ["features", "head"]),
    ],
)
def test_slots_that_train_in_a_convolutional_root(run, lite, name, trained):
    (proposal,) = run(name, lite)
    assert [slot.name for slot in proposal.trainable] == trained


@pytest.mark.parametrize("name", ["finetune", "linear", "freeze:2", "adapters:64"])
def test_a_run_starts_from_the_root_with_the_defaults_and_no_mutation(run, build, vit, root, name):
    (proposal,) = run(name, vit)
    agent = make_agent(name, vit, build.scoring(vit))
    assert (proposal.parent_id, proposal.origin, proposal.inherits_momentum) == ("root", "root", False)
    assert proposal.hparams == agent.space.defaults()
    assert proposal.hparams["adapter_dim"] == (64 if name == "adapters:64" else 32)
    assert all(mutation.is_forced for mutation in proposal.mutations)
    for plan in proposal.slots:
        source = root.component(plan.slot.name)
        assert plan.digest == (source.digest if source else None)
        assert plan.slot.name not in ("head", *ADAPTERS) or plan.action == "fresh"


@pytest.mark.parametrize("name", ["finetune", "linear", "freeze:2", "adapters:64"])
def test_a_run_writes_down_what_it_trains(run, vit, name):
    (proposal,) = run(name, vit)
    expected = {f"{'add' if slot.kind == 'adapter' else 'clone'}:{slot.name}" for slot in proposal.trainable[:-1]}
    assert {mutation.name for mutation in proposal.mutations} == expected


def test_the_chain_with_adapters_in_all_blocks(run, vit):
    (proposal,) = run("adapters:16", vit, num_layers=3)
    assert [plan.slot for plan in proposal.slots] == list(vit.slots(3, {0, 1, 2}))
    assert {f"add:{name}" for name in ADAPTERS[:3]} <= {mutation.name for mutation in proposal.mutations}


def test_a_baseline_never_descends_from_another_task(build, vit, root):
    other = build.path(vit, "b/0/0/0")
    own = build.path(vit, "a/0/0/0")
    agent = make_agent("finetune", vit, build.scoring(vit))
    runs = agent.propose(Population.start("a", root, [other, own]), generator(0), 16)
    assert len(runs) == 16
    assert all(run == runs[0] for run in runs)
    assert {plan.digest for plan in runs[0].slots} <= {*root.digests, None}


@pytest.mark.parametrize("name", ["finetune", "linear", "freeze:2", "adapters:8"])
def test_at_another_input_size_the_position_embedding_is_resampled(run, vit, root, name):
    (proposal,) = run(name, vit, ds_image_size=48)
    (tokens,) = (plan for plan in proposal.slots if plan.slot.name == "tokens")
    assert (tokens.action, tokens.digest) == ("resample", root.component("tokens").digest)


def test_the_best_of_independent_runs_is_kept_whatever_the_others_are(build, vit, root):
    agent = make_agent("linear", vit, build.scoring(vit))
    own = build.path(vit, "a/0/0/0", quality=0.9, agent="linear")
    worse = build.path(vit, "a/1/0/0", quality=0.1, agent="linear", parent=own.id)
    assert agent.keeps(Population("a", root, own=(own,)), worse)
    assert agent.is_baseline


@pytest.mark.parametrize("number", [5, 99])
def test_a_block_that_the_root_does_not_have_is_an_error(run, vit, number):
    with pytest.raises(ConfigError, match=f"'freeze:{number}' does not fit the root, which has 4 blocks"):
        run(f"freeze:{number}", vit)


def test_adapters_where_the_root_takes_none_are_an_error(run, lite):
    with pytest.raises(ConfigError, match=r"'efficientnet-lite0' does not \(choose a ViT root"):
        run("adapters:8", lite)


def test_an_inner_size_that_is_not_in_the_list_is_an_error(run, vit):
    with pytest.raises(RangeError, match="'adapter_dim' is 7; expected one of: 8, 16, 32, 64, 128"):
        run("adapters:7", vit)


def test_a_baseline_must_say_what_it_trains(build, vit):
    with pytest.raises(NotImplementedError):
        Baseline(vit, build.scoring(vit)).trains(build.block_slot(0))
