from dataclasses import replace

import numpy as np
import pytest
import torch

from mu2net.train.activation_cache import ActivationCache
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches, Views
from mu2net.train.child import ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.prefix import Prefixes, make_prefix

AUGMENTED = Pipeline(8, True, 0.3, 0.75, True)


@pytest.fixture(params=["float32", "bfloat16"])
def reader(vit, split, request):
    return SplitReader("train", split(10, 0), Pipeline(8), Compute.of(vit, torch.device("cpu"), request.param))


@pytest.fixture
def prefix_of(vit, source, reader):
    factory = ModuleFactory(vit, source, torch.device("cpu"), (0,))

    def make(job):
        chain = factory.chain(job)
        frozen = [(plan.slot.name, plan.digest) for plan in job.proposal.slots[: chain.frozen_prefix]]
        return make_prefix(chain, frozen, {"train": reader})

    return make


@pytest.fixture
def batch(reader):
    return TrainBatches(reader, 4, (0,)).batch(0)


def count_runs(chain):
    """Record which slots of a chain compute."""
    ran = []
    for slot in chain.slots:
        chain.part(slot.name).register_forward_hook(lambda *_, name=slot.name: ran.append(name))
    return ran


def test_a_prefix_ends_before_the_lowest_trainable_slot(prefix_of, job):
    assert prefix_of(job("head only")).depth == 6
    assert prefix_of(job("norm", "norm")).depth == 5
    assert prefix_of(job("gap", "block_01", "norm")).depth == 3
    assert prefix_of(job("adapter", "norm", adapters=(2,))).depth == 4
    assert prefix_of(job("all", "patch_embed")).depth == 0


def test_keys_are_equal_as_far_as_components_are(prefix_of, job):
    shallow, deep, other = prefix_of(job("a", "block_01")), prefix_of(job("b", "norm")), prefix_of(job("c", "block_01"))
    assert shallow.keys["train"] == deep.keys["train"][:4]
    assert shallow.key("train") == other.key("train") != deep.key("train")
    assert len(deep.keys["train"]) == deep.depth + 1


def test_the_activation_is_that_of_the_frozen_slots_without_a_graph(prefix_of, job, batch, reader):
    prefix = prefix_of(job("a", "norm"))
    found = Prefixes().activation(prefix, batch)
    assert not found.requires_grad
    with torch.no_grad(), reader.compute.arithmetic():
        assert torch.equal(found, prefix.chain.forward_range(batch.inputs, 0, 5))


def test_shared_slots_compute_once_per_batch(prefix_of, job, batch):
    shallow, deep = prefix_of(job("a", "block_01")), prefix_of(job("b", "norm"))
    ran = count_runs(deep.chain)  # frozen modules are the same objects in both chains
    prefixes = Prefixes()
    prefixes.activation(shallow, batch)
    assert ran == ["patch_embed", "tokens", "block_00"]
    resumed = prefixes.activation(deep, batch)
    assert ran == ["patch_embed", "tokens", "block_00", "block_01", "block_02"]
    assert prefixes.activation(deep, batch) is resumed
    assert len(ran) == 5
    assert torch.equal(resumed, deep.run(batch))


def test_another_batch_is_computed_anew(prefix_of, job, reader):
    prefixes, prefix, batches = Prefixes(), prefix_of(job("a", "norm")), TrainBatches(reader, 4, (0,))
    first, second = batches.batch(0), batches.batch(1)
    assert not torch.equal(prefixes.activation(prefix, first), prefixes.activation(prefix, second))


def test_without_frozen_slots_the_images_enter(prefix_of, job, batch):
    assert Prefixes().activation(prefix_of(job("a", "patch_embed")), batch) is batch.inputs


@pytest.fixture
def cache(tmp_path):
    return ActivationCache(tmp_path / "activations", 10**8)


def entering(prefixes, prefix, batch):
    return prefixes.activation(prefix, batch).clone()


@pytest.mark.parametrize("clones", [("block_02", "norm"), ("norm",), ()])
def test_what_was_kept_has_the_bits_of_what_is_computed(prefix_of, job, reader, cache, clones):
    """Whatever batch an image was in when its activation was computed."""
    prefix, first, second = prefix_of(job("a", *clones)), TrainBatches(reader, 4, (0,)), TrainBatches(reader, 4, (1,))
    filling = Prefixes(cache)
    for step in range(3):
        filling.activation(prefix, first.batch(step))
    reading = Prefixes(cache)
    ran = count_runs(prefix.chain)
    for step in range(5):
        assert torch.equal(reading.activation(prefix, second.batch(step)), prefix.run(second.batch(step)))
        ran.clear()
    assert reading.batches_read == 5
    assert reading.slots_run == 0


def test_images_that_are_kept_are_not_fetched_again(prefix_of, job, reader, split, cache):
    prefix, batches = prefix_of(job("a", "norm")), TrainBatches(reader, 10, (0,))
    Prefixes(cache).activation(prefix, batches.batch(0))
    fetched = len(reader.split.fetched)
    Prefixes(cache).activation(prefix, batches.batch(1))
    assert len(reader.split.fetched) == fetched


def test_a_deeper_prefix_goes_on_from_what_is_kept(prefix_of, job, reader, cache):
    shallow, deep = prefix_of(job("a", "block_01", "norm")), prefix_of(job("b", "norm"))
    batches = TrainBatches(reader, 10, (0,))
    Prefixes(cache).activation(shallow, batches.batch(0))
    prefixes, ran = Prefixes(cache), count_runs(deep.chain)
    found = prefixes.activation(deep, batches.batch(1))
    assert ran == ["block_01", "block_02"]
    assert torch.equal(found, deep.run(batches.batch(1)))


def test_slots_that_differ_later_are_shared_up_to_there(prefix_of, job, source, vit, batch):
    """Two parents: the children share no prefix end, but the slots before their parents differ run once."""
    mine, its = job("a", "norm"), job("b", "norm")
    other = source.add({name: value + 1 for name, value in vit.random(mine.proposal.slots[3].slot, 9).items()})
    plans = [replace(p, digest=other) if p.slot.name == "block_01" else p for p in its.proposal.slots]
    one, two = prefix_of(mine), prefix_of(replace(its, proposal=replace(its.proposal, slots=tuple(plans))))
    prefixes, ran = Prefixes(), count_runs(one.chain)
    prefixes.plan([one, two])
    assert torch.equal(prefixes.activation(one, batch), one.run(batch))
    ran.clear()
    assert torch.equal(entering(prefixes, two, batch), two.run(batch, None, 0))
    assert ran.count("block_00") == 1  # by the comparison alone


def test_a_prefix_contains_those_that_it_begins_with(prefix_of, job, source, vit):
    lower, higher = job("low", "block_01", "norm"), job("high", "norm")
    other = source.add({name: value + 1 for name, value in vit.random(lower.proposal.slots[2].slot, 9).items()})
    plans = [replace(p, digest=other) if p.slot.name == "block_00" else p for p in higher.proposal.slots]
    elsewhere = prefix_of(replace(higher, proposal=replace(higher.proposal, slots=tuple(plans))))
    lower, higher = prefix_of(lower), prefix_of(higher)
    assert higher.contains(lower)
    assert not lower.contains(higher)
    assert not higher.contains(higher)
    assert elsewhere.depth == higher.depth
    assert not elsewhere.contains(lower), "another block lies at its bottom"


def test_a_prefix_without_a_block_is_not_kept(prefix_of, job, reader, cache, tmp_path):
    prefix = prefix_of(job("a", "block_00"))
    Prefixes(cache).activation(prefix, TrainBatches(reader, 4, (0,)).batch(0))
    assert not list(tmp_path.rglob("*.act*"))
    assert prefix.depth == 2
    assert Prefixes(cache).missing(prefix, reader, np.arange(10), 4) is None


def test_what_is_missing_is_counted(prefix_of, job, reader, cache):
    prefix, batches, prefixes = prefix_of(job("a", "norm")), TrainBatches(reader, 4, (0,)), Prefixes(cache)
    assert prefixes.missing(prefix, reader, np.arange(10), 4) == 10
    prefixes.activation(prefix, batches.batch(0))
    assert prefixes.missing(prefix, reader, np.arange(10), 4) == 6
    assert prefixes.missing(prefix, reader, batches.batch(0).indices, 4) == 0
    assert prefixes.missing(prefix, reader, np.arange(10), 5) == 10  # another shape of batches
    assert Prefixes().missing(prefix, reader, np.arange(10), 4) is None


def test_batches_that_are_drawn_anew_are_never_kept(prefix_of, job, reader, cache, vit, split):
    fresh = replace(reader, pipeline=AUGMENTED)
    chain = prefix_of(job("a", "norm")).chain
    prefix = make_prefix(chain, [(slot.name, "d" * 64) for slot in chain.slots[:5]], {"train": fresh})
    prefixes, batches = Prefixes(cache), TrainBatches(fresh, 10, (0,))
    assert batches.batch(0).rows is None
    one, other = entering(prefixes, prefix, batches.batch(0)), entering(prefixes, prefix, batches.batch(1))
    assert not torch.equal(one, other)
    assert prefixes.batches_read == 0
    assert prefixes.missing(prefix, fresh, np.arange(10), 10) is None


def test_views_come_again_and_are_kept(prefix_of, job, reader, cache):
    pool = replace(reader, pipeline=AUGMENTED, views=Views(2, (0, "views")))
    chain = prefix_of(job("a", "norm")).chain
    prefix = make_prefix(chain, [(slot.name, "d" * 64) for slot in chain.slots[:5]], {"train": pool})
    prefixes, batches = Prefixes(cache), TrainBatches(pool, 10, (0,))
    for step in range(4):
        assert torch.equal(entering(prefixes, prefix, batches.batch(step)), prefix.run(batches.batch(step)))
    assert prefixes.batches_read == 2
    assert prefixes.missing(prefix, pool, np.arange(10), 10) == 0


def test_rounding_does_not_depend_on_what_was_kept(prefix_of, job, reader, cache):
    prefix, batches = prefix_of(job("a", "norm")), TrainBatches(reader, 10, (0,))
    without, filling, reading = Prefixes(None, "bfloat16"), Prefixes(cache, "bfloat16"), Prefixes(cache, "bfloat16")
    plain, filled, read = (entering(it, prefix, batches.batch(0)) for it in (without, filling, reading))
    assert torch.equal(plain, filled)
    assert torch.equal(plain, read)
    assert reading.batches_read == 1
    exact = prefix.run(batches.batch(0))
    assert torch.equal(plain, exact.bfloat16().float())
    assert Prefixes(cache).missing(prefix, reader, np.arange(10), 10) == 10  # rounded ones are not taken for exact


@pytest.mark.parametrize("keeps_shared", [True, False])
def test_where_prefixes_part_activations_are_kept_if_that_is_asked_for(
    prefix_of, job, batch, vit, source, reader, tmp_path, keeps_shared
):
    """Two networks share two blocks and differ in the third; a later child trains from there."""
    other = dict(vit.random(vit.anatomy.slots(3)[4], 99))
    changed = job("b", "norm")
    plans = tuple(
        replace(plan, digest=source.add(other)) if plan.slot.name == "block_02" else plan
        for plan in changed.proposal.slots
    )
    changed = replace(changed, proposal=replace(changed.proposal, slots=plans))
    prefixes = [prefix_of(job("a", "norm")), prefix_of(changed)]
    first = Prefixes(ActivationCache(tmp_path / "kept"))
    first.plan(prefixes, keeps_shared=keeps_shared)
    for prefix in prefixes:
        first.activation(prefix, batch)
    later = prefix_of(job("c", "block_02"))
    second = Prefixes(ActivationCache(tmp_path / "kept"))
    found = second.activation(later, batch)
    assert second.slots_run == (0 if keeps_shared else later.depth)
    assert torch.equal(found, Prefixes().activation(later, batch))
