import pytest
import torch

from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.child import ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.prefix import ComputedPrefixes, make_prefix


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
    return TrainBatches(reader, 4, 10, (0,)).batch(0)


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
    found = ComputedPrefixes().activation(prefix, batch)
    assert not found.requires_grad
    with torch.no_grad(), reader.compute.arithmetic():
        assert torch.equal(found, prefix.chain.forward_range(batch.inputs, 0, 5))


def test_shared_slots_compute_once_per_batch(prefix_of, job, batch):
    shallow, deep = prefix_of(job("a", "block_01")), prefix_of(job("b", "norm"))
    ran = count_runs(deep.chain)  # frozen modules are the same objects in both chains
    prefixes = ComputedPrefixes()
    prefixes.activation(shallow, batch)
    assert ran == ["patch_embed", "tokens", "block_00"]
    resumed = prefixes.activation(deep, batch)
    assert ran == ["patch_embed", "tokens", "block_00", "block_01", "block_02"]
    assert prefixes.activation(deep, batch) is resumed
    assert len(ran) == 5
    assert torch.equal(resumed, deep.run(batch))


def test_another_batch_is_computed_anew(prefix_of, job, reader):
    prefixes, prefix, batches = ComputedPrefixes(), prefix_of(job("a", "norm")), TrainBatches(reader, 4, 10, (0,))
    first, second = batches.batch(0), batches.batch(1)
    assert not torch.equal(prefixes.activation(prefix, first), prefixes.activation(prefix, second))


def test_without_frozen_slots_the_images_enter(prefix_of, job, batch):
    assert ComputedPrefixes().activation(prefix_of(job("a", "patch_embed")), batch) is batch.inputs
