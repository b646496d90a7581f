from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mu2net.errors import ConfigError
from mu2net.train import learner
from mu2net.train.batches import TrainBatches
from mu2net.train.learner import Turn
from mu2net.train.patch_drop import count_kept, draw_tokens, keep_tokens
from mu2net.train.session import train_group

CPU = torch.device("cpu")


@pytest.mark.parametrize(("rate", "kept"), [(0.0, 49), (0.25, 37), (0.5, 24), (0.75, 12), (0.999, 1)])
def test_a_share_of_the_patches_is_kept_and_one_at_least(rate, kept):
    assert count_kept(49, rate) == kept


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ConfigError, match=r"patch_drop_rate is .*; expected a share of the patches"):
        count_kept(49, rate)


def test_every_image_keeps_its_class_token_and_other_patches():
    chosen = draw_tokens(1000, 16, 0.5, ("key", 1))
    assert chosen.shape == (1000, 9)
    assert bool((chosen[:, 0] == 0).all())
    assert bool((chosen.diff(dim=1) > 0).all()), "ascending, each once"
    counts = chosen[:, 1:].flatten().bincount(minlength=17)[1:]
    assert counts.min() > 500 - 5 * 250**0.5
    assert counts.max() < 500 + 5 * 250**0.5
    assert torch.equal(chosen, draw_tokens(1000, 16, 0.5, ("key", 1)))
    assert not torch.equal(chosen, draw_tokens(1000, 16, 0.5, ("key", 2)))


def test_tokens_are_those_that_were_chosen():
    tokens = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    kept = keep_tokens(tokens, torch.tensor([[0, 2], [0, 4]]))
    assert torch.equal(kept, torch.stack((tokens[0, [0, 2]], tokens[1, [0, 4]])))


def stepped(child, batch, *keys):
    """Take a step for every key; the first one moves the head, which starts at zero and says nothing of the tokens."""
    losses = []
    for key in keys:
        losses += child.learner.step([Turn(child.place, child.prefix.run(batch), 0.1, key)], batch.labels)
    return losses[-1], child.learner.state(child.place).tensors


@pytest.mark.parametrize("clones", [("block_01", "norm"), ("block_02", "norm"), ("patch_embed", "norm"), ("tokens",)])
def test_a_step_sees_the_kept_patches_alone_wherever_training_begins(child, reader, clones):
    """What a step computes is what the network computes of the kept tokens, with the positions that they have."""
    batch = TrainBatches(reader, 8, (0,)).batch(0)
    one = child(*clones, patch_drop_rate=0.5)
    for number in range(5):
        stepped(one, batch, ("step", number))
    start = max(one.chain.frozen_prefix, one.chain.index("tokens") + 1)
    positions = one.chain.part("tokens").pos_embed.shape[1]
    with torch.no_grad():
        tokens = one.chain.forward_range(one.prefix.run(batch), one.chain.frozen_prefix, start)
        kept = keep_tokens(tokens, draw_tokens(8, positions - 1, 0.5, ("step", 5)))
        expected, of_all = (
            float(F.cross_entropy(one.chain.forward_range(some, start), batch.labels)) for some in (kept, tokens)
        )
    loss, _ = stepped(one, batch, ("step", 5))
    assert loss == pytest.approx(expected, abs=1e-6)
    assert abs(loss - of_all) > 1e-4


@pytest.mark.parametrize("clones", [("block_01", "norm"), ("patch_embed", "norm")])
def test_pieces_and_repetitions_make_the_same_steps_and_other_keys_others(child, reader, clones, monkeypatch):
    batch, keys = TrainBatches(reader, 8, (0,)).batch(0), [("step", 0), ("step", 1), ("step", 2)]
    _, first = stepped(child(*clones, patch_drop_rate=0.5), batch, *keys)
    _, again = stepped(child(*clones, patch_drop_rate=0.5), batch, *keys)
    _, other = stepped(child(*clones, patch_drop_rate=0.5), batch, *keys[:2], ("step", 3))
    monkeypatch.setitem(learner.PIECE_TOKENS, "float32", 5)
    _, pieces = stepped(child(*clones, patch_drop_rate=0.5), batch, *keys)
    trained = [(slot, name) for slot, named in first.items() for name in named]
    assert all(torch.equal(first[slot][name], again[slot][name]) for slot, name in trained)
    assert all(torch.allclose(first[slot][name], pieces[slot][name], atol=1e-5) for slot, name in trained)
    assert any(not torch.equal(first[clones[0]][name], other[clones[0]][name]) for name in first[clones[0]])


def test_the_class_token_alone_has_no_patches_to_drop(child, reader):
    batch, keys = TrainBatches(reader, 8, (0,)).batch(0), [("step", 0), ("step", 1)]
    alone = {"opt_averaging": 0.1}  # not among stacked heads, which know nothing of patches
    _, plain = stepped(child("norm", **alone), batch, *keys)
    _, dropped = stepped(child("norm", patch_drop_rate=0.5, **alone), batch, *keys)
    assert all(torch.equal(plain[slot][name], dropped[slot][name]) for slot in plain for name in plain[slot])


def test_validation_sees_all_patches(child, reader):
    batch = TrainBatches(reader, 8, (0,)).batch(0)
    one, seen = child("block_01", "norm", patch_drop_rate=0.5), []
    forward = one.chain.forward_range

    def record(activation, *arguments):
        seen.append(activation.shape[1])
        return forward(activation, *arguments)

    entering = one.prefix.run(batch)
    one.chain.forward_range = record
    one.learner.step([Turn(one.place, entering, 0.1, ("step", 0))], batch.labels)
    one.learner.count_correct([Turn(one.place, entering)], batch)
    assert seen == [1 + count_kept(entering.shape[1] - 1, 0.5), entering.shape[1]]


def test_training_is_repeatable(group, source, job):
    def trained(rate):
        (made,) = train_group(group(job("a", "block_01", "norm", patch_drop_rate=rate)), source)
        return made

    one, again, plain = trained(0.5), trained(0.5), trained(0.0)
    assert one.metrics.validations == again.metrics.validations
    assert one.metrics.flops == plain.metrics.flops
    weights = [made.tensors["block_01"]["mlp.fc1.weight"] for made in (one, again, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
