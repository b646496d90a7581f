"""Products of 8-bit integers: what they compute, exactly, and that nobody's company matters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mu2net.core.component import Slot
from mu2net.nn.int8 import ACTIVATION_STEPS, WEIGHT_STEPS, Int8Linear, to_int8
from mu2net.nn.modules import module_bytes
from mu2net.nn.roots import load_root


def layer(inputs, outputs, *, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


@torch.inference_mode()
def test_it_computes_the_product_of_the_rounded_numbers():
    """Also at the ends of their ranges, where processors without integer dot products would cut off sums."""
    linear = layer(384, 70)
    linear.weight[0] = 0.5  # every product as large as it can be
    int8 = Int8Linear(linear)
    tokens = torch.randn(5, 9, 384, generator=torch.Generator().manual_seed(1))
    tokens[0, 0] = 3.0
    tokens[0, 1] = -3.0
    scale = tokens.abs().amax(-1, keepdim=True) / ACTIVATION_STEPS
    weights = linear.weight / (linear.weight.abs().amax(1, keepdim=True) / WEIGHT_STEPS)
    exact = (tokens / scale).round().double() @ weights.round().double().T
    expected = exact * scale * (linear.weight.abs().amax(1) / WEIGHT_STEPS) + linear.bias
    torch.testing.assert_close(int8(tokens), expected.float(), rtol=1e-5, atol=1e-5)
    error = (int8(tokens) - linear(tokens)).norm() / linear(tokens).norm()
    assert 0 < error < 0.02
    assert int8(tokens).shape == (5, 9, 70)
    assert int8(tokens).dtype == torch.float32


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 40), chosen=st.data())
@torch.inference_mode()
def test_a_row_is_the_same_bits_in_any_company(rows, chosen):
    int8 = Int8Linear(layer(24, 40))
    tokens = torch.randn(rows, 24, generator=torch.Generator().manual_seed(rows))
    together = int8(tokens)
    row = chosen.draw(st.integers(0, rows - 1))
    assert torch.equal(int8(tokens[row : row + 1])[0], together[row])
    others = tokens * 1000
    others[row] = tokens[row]
    assert torch.equal(int8(others)[row], together[row])


@torch.inference_mode()
def test_zeros_stay_zeros():
    int8 = Int8Linear(layer(8, 4, bias=False))
    assert int8.bias is None
    assert int8(torch.zeros(2, 3, 8)).tolist() == torch.zeros(2, 3, 4).tolist()
    nothing = nn.Linear(8, 4)
    nn.init.zeros_(nothing.weight)
    assert torch.equal(Int8Linear(nothing)(torch.ones(1, 8))[0], nothing.bias)


@torch.inference_mode()
def test_its_weights_can_be_read():
    """As a block reads them that computes the class token alone."""
    linear = layer(32, 12)
    step = linear.weight.abs().amax(1, keepdim=True) / WEIGHT_STEPS
    assert ((Int8Linear(linear, keeps_weight=True).weight - linear.weight).abs() <= step / 2 + 1e-7).all()
    with pytest.raises(ValueError, match="were not kept"):
        Int8Linear(linear).weight  # noqa: B018


@pytest.fixture(scope="module")
def root():
    return load_root("vit:dim=32,depth=1,heads=2,patch=4,image=8", seed=3)


@torch.inference_mode()
def test_a_block_computes_almost_the_same_in_a_fraction_of_the_room(root):
    slot, tensors = next(part for part in root.components if part[0].name == "block_00")
    tensors = {name: 5 * tensor if tensor.dim() > 1 else tensor for name, tensor in tensors.items()}
    plain, int8 = root.backbone.module(slot, tensors), to_int8(root.backbone.module(slot, tensors))
    tokens = torch.randn(4, 5, 32, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"class_token_only": True}):
        expected, found = plain(tokens, **options), int8(tokens, **options)
        assert found.shape == expected.shape
        assert 0 < (found - expected).norm() / expected.norm() < 0.02
    kinds = {name: type(module) for name, module in int8.named_modules() if name.rpartition(".")[2] in ("qkv", "fc1")}
    assert set(kinds.values()) == {Int8Linear}
    assert module_bytes(int8) < 0.5 * module_bytes(plain)


def test_heads_and_convolutions_stay(root):
    head = root.backbone.module(Slot("head", "head"), root.backbone.fresh(Slot("head", "head"), 0, num_classes=3))
    assert to_int8(head) is head
    assert type(head).__name__ == "Head"
    parts = nn.ModuleDict({"head": head, "conv": nn.Conv2d(3, 4, 1), "linear": nn.Linear(2, 2)})
    assert [type(part).__name__ for part in to_int8(parts).values()] == ["Head", "Conv2d", "Int8Linear"]
