import pytest
import torch

from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.child import ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.learner import ChainLearner, Turn
from mu2net.train.team import HeadLearner, make_children


@pytest.fixture
def readers(vit, split):
    reader = SplitReader("train", split(24, 0), Pipeline(8), Compute.of(vit, torch.device("cpu"), "float32"))
    return {"train": reader, "validation": reader}


@pytest.fixture
def team(vit, source, readers):
    def make(*jobs):
        return make_children(jobs, ModuleFactory(vit, source, torch.device("cpu"), (0,)), readers)

    return make


def train(child, batch, lr=0.1):
    (loss,) = child.learner.step([Turn(child.place, child.prefix.run(batch), lr)], batch.labels)
    return loss


def test_children_of_heads_alone_share_a_learner_and_all_others_have_their_own(team, job):
    jobs = [job("a"), job("b", "norm"), job("c", "block_02", "norm"), job("d"), job("e", "norm"), job("f", "norm")]
    children = team(*jobs)
    assert [child.id for child in children] == list("abcdef")
    a, b, c, d, e, f = (child.learner for child in children)
    assert a is d
    assert b is e is f
    assert isinstance(a, HeadLearner)
    assert isinstance(b, HeadLearner)
    assert a is not b
    assert isinstance(c, ChainLearner)
    assert [child.place for child in children] == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("clones", [(), ("norm",), ("block_02", "norm")])
def test_a_child_can_be_put_back_to_a_state(team, job, readers, clones):
    first, second = team(job("a", *clones), job("b", *clones))
    batches = TrainBatches(readers["train"], 8, (0,))
    train(first, batches.batch(0))
    before, other = first.learner.state(first.place), second.learner.state(second.place)
    losses = [train(first, batches.batch(step)) for step in (1, 2)]
    assert not torch.equal(first.learner.state(first.place).tensors["head"]["weight"], before.tensors["head"]["weight"])
    first.learner.restore(first.place, before)
    after = first.learner.state(first.place)
    for kept, there in ((before.tensors, after.tensors), (before.momentum, after.momentum)):
        assert all(torch.equal(value, there[slot][name]) for slot in kept for name, value in kept[slot].items())
    assert [train(first, batches.batch(step)) for step in (1, 2)] == losses
    untouched = second.learner.state(second.place)
    assert torch.equal(untouched.tensors["head"]["weight"], other.tensors["head"]["weight"])


@pytest.mark.parametrize("clones", [("norm",), ("block_02", "norm")])
def test_padding_is_not_counted_and_losses_that_are_not_finite_change_nothing(team, job, readers, clones):
    (child,) = team(job("a", *clones))
    batch = TrainBatches(readers["train"], 8, (0,)).batch(0)
    batch.size, labels = 3, batch.labels
    turn = Turn(child.place, child.prefix.run(batch))
    (correct,) = child.learner.count_correct([turn], batch)
    assert 0 <= correct <= 3
    before = child.learner.state(child.place)
    spoiled = Turn(child.place, torch.full_like(turn.entering, float("nan")), 0.1)
    assert child.learner.step([spoiled], labels) == [None]
    after = child.learner.state(child.place)
    assert all(torch.equal(v, after.tensors[s][n]) for s, named in before.tensors.items() for n, v in named.items())
