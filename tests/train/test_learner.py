import pytest
import torch

from mu2net.train import learner
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.child import ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.learner import Turn, count_pieces
from mu2net.train.team import make_children

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("batch", "tokens", "pieces"), [(64, 65, 8), (64, 50, 6), (64, 8, 1), (64, 0, 1), (2, 5000, 2), (1, 5000, 1)]
)
def test_a_batch_is_cut_where_its_tokens_are_many(batch, tokens, pieces):
    assert count_pieces(batch, tokens, CPU, "float32") == pieces


def test_bfloat16_has_fewer_and_larger_pieces():
    assert count_pieces(64, 65, CPU, "bfloat16") == 2


def test_other_devices_take_whole_batches():
    assert count_pieces(64, 5000, torch.device("meta"), "float32") == 1


@pytest.fixture
def precision():
    return "float32"


@pytest.fixture
def batches(vit, split, precision):
    reader = SplitReader("train", split(24, 0), Pipeline(8), Compute.of(vit, CPU, precision))
    return TrainBatches(reader, 8, (0,))


@pytest.fixture
def step(vit, source, job, batches):
    """Returns what two steps make of a child, and how many images entered the network at a time."""

    def run(*clones):
        readers = {"train": batches.reader, "validation": batches.reader}
        (child,) = make_children([job("a", *clones)], ModuleFactory(vit, source, CPU, (0,)), readers)
        forward, entered = child.chain.forward_range, []

        def record(activation, *arguments):
            entered.append(len(activation))
            return forward(activation, *arguments)

        child.chain.forward_range = record
        losses = []
        for number in range(2):
            batch = batches.batch(number)
            entering = child.prefix.run(batch)
            entered.clear()
            losses += child.learner.step([Turn(child.place, entering, 0.1)], batch.labels)
        return losses, child.learner.state(child.place), entered

    return run


@pytest.mark.parametrize("clones", [("patch_embed", "norm"), ("block_00", "norm")])
def test_a_batch_in_pieces_is_the_step_of_the_whole_batch(step, clones, monkeypatch):
    losses, whole, entered = step(*clones)
    assert entered == [8]
    monkeypatch.setitem(learner.PIECE_TOKENS, "float32", 13)
    in_pieces, pieces, entered = step(*clones)
    assert entered == [2, 2, 2, 2]
    assert in_pieces == pytest.approx(losses, abs=1e-6)
    for slot, named in whole.tensors.items():
        for name, value in named.items():
            assert torch.allclose(pieces.tensors[slot][name], value, atol=1e-6)
            assert torch.allclose(pieces.momentum[slot][name], whole.momentum[slot][name], atol=1e-5)


@pytest.mark.parametrize(("precision", "images"), [("float32", [8]), ("bfloat16", [2, 2, 2, 2])])
def test_the_pieces_are_those_of_the_arithmetic(step, images, monkeypatch):
    monkeypatch.setitem(learner.PIECE_TOKENS, "bfloat16", 13)
    _, _, entered = step("block_00", "norm")
    assert entered == images


def test_the_class_token_alone_is_not_cut(step, monkeypatch):
    monkeypatch.setitem(learner.PIECE_TOKENS, "float32", 1)
    _, _, entered = step("block_02", "norm")
    assert entered == [8]
