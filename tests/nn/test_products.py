"""Matrix products on small feature maps: their gradients against finite differences, and what they keep."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mu2net.nn.batch_norm import FrozenBatchNorm
from mu2net.nn.products import Layer, block_matrices, compute_block, compute_pooled, pooled_matrix

BATCH = 8


def draw(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(outputs: int, inputs: int, side: int, seed: int) -> Layer:
    norm = FrozenBatchNorm(outputs).to_empty(device="cpu").double()
    for number, tensor in enumerate((*norm.parameters(), *norm.buffers())):
        tensor.data.copy_(draw(outputs, seed=seed + number + 1))
    norm.running_var.abs_().add_(0.5)
    weight = draw(outputs, inputs, side, side, seed=seed, scale=(inputs * side * side) ** -0.5)
    return Layer(weight.requires_grad_(True), norm)


def block(kernel: int) -> tuple[Layer, Layer, Layer]:
    return layer(6, 3, 1, 10), layer(6, 1, kernel, 20), layer(4, 6, 1, 30)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2)])
def test_the_gradients_of_a_block_are_those_of_finite_differences(kernel, stride):
    layers = block(kernel)
    rows = draw(BATCH * 6, 3, seed=1).requires_grad_(True)

    def compute(rows, *_):
        return compute_block(rows, BATCH, layers, block_matrices(layers, stride, 2, 3, torch.float64))

    parameters = [parameter for layer in layers for parameter in layer.parameters]
    assert torch.autograd.gradcheck(compute, (rows, *parameters), eps=1e-6, atol=1e-6)


def test_the_gradients_of_the_pooled_convolution_are_those_of_finite_differences():
    one = layer(5, 3, 1, 10)
    rows = draw(BATCH * 4, 3, seed=1).requires_grad_(True)

    def compute(rows, *_):
        return compute_pooled(rows, BATCH, one, pooled_matrix(one, torch.float64))

    assert torch.autograd.gradcheck(compute, (rows, *one.parameters), eps=1e-6, atol=1e-6)


def test_a_pooled_convolution_is_the_mean_of_what_relu6_leaves():
    one = layer(5, 3, 1, 10)
    rows = draw(BATCH * 4, 3, seed=1, scale=4.0)
    kernel, shift = one.fold()
    maps = F.relu6(rows @ kernel.t() + shift)
    assert (maps == 6).any()
    assert (maps == 0).any()
    found = compute_pooled(rows, BATCH, one, pooled_matrix(one, torch.float64))
    torch.testing.assert_close(found, maps.view(BATCH, 4, 5).mean(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrices_are_rounded_once_from_what_was_folded_in_full(dtype):
    layers = block(3)
    found = block_matrices(layers, 1, 2, 3, dtype)
    exact = block_matrices(layers, 1, 2, 3, torch.float64)
    for name in ("expand", "spread", "spread_shift", "project", "project_shift", "placement"):
        assert getattr(found, name).dtype == dtype
        assert torch.equal(getattr(found, name), getattr(exact, name).to(dtype)), name
        assert not getattr(found, name).requires_grad


def test_a_block_keeps_what_enters_and_its_two_inner_maps_alone():
    layers, kept = block(3), []
    rows = draw(BATCH * 6, 3, seed=1).requires_grad_(True)
    matrices = block_matrices(layers, 1, 2, 3, torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
        compute_block(rows, BATCH, layers, matrices)
    assert kept == [BATCH * 6 * 4, 6 * BATCH * 6, 6 * BATCH * 6]
