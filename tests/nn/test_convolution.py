import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mu2net.nn.assign import assign
from mu2net.nn.convolution import BATCH_NORM_EPS, ConvHead, FrozenBatchNorm, InvertedResidual, SameConv2d


@settings(deadline=None, max_examples=50)
@given(side=st.integers(1, 40), kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]))
def test_same_padding_gives_every_window_its_side_and_pads_the_end_first(side, kernel, stride):
    convolution = assign(
        SameConv2d(1, 1, kernel, stride), {"weight": torch.ones(1, 1, kernel, kernel)}, "a convolution"
    )
    output = convolution(torch.ones(1, 1, side, side))[0, 0]
    outputs = -(-side // stride)
    assert output.shape == (outputs, outputs)
    before = max((outputs - 1) * stride + kernel - side, 0) // 2
    for place in range(outputs):
        first = place * stride - before
        inside = min(first + kernel, side) - max(first, 0)
        assert output[place, place] == inside * inside


def test_batch_norm_uses_its_statistics_and_never_updates_them():
    values = {
        "weight": torch.tensor([2.0]),
        "bias": torch.tensor([1.0]),
        "running_mean": torch.tensor([3.0]),
        "running_var": torch.tensor([4.0]),
    }
    module = assign(FrozenBatchNorm(1), values, "a batch norm").train()
    output = module(torch.tensor([[[[3.0, 5.0]]]]))
    assert output.flatten().tolist() == pytest.approx([1.0, 1.0 + 4 / (4 + BATCH_NORM_EPS) ** 0.5])
    assert module.running_mean.item() == 3
    assert module.running_var.item() == 4
    assert {name for name, _ in module.named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "has_skip"), [(4, 4, 1, True), (4, 6, 1, False), (4, 4, 2, False)]
)
def test_the_skip_is_there_where_shapes_allow_it(inputs, outputs, stride, has_skip):
    blank = InvertedResidual(inputs, outputs, 3, stride, 6)
    tensors = {name: torch.zeros(t.shape) for name, t in blank.state_dict().items()}
    maps = torch.randn(2, inputs, 8, 8)
    output = assign(blank, tensors, "a block")(maps)
    assert output.shape == (2, outputs, 8 // stride, 8 // stride)
    assert torch.equal(output, maps if has_skip else torch.zeros_like(output))


def test_the_last_convolution_is_pooled_after_its_activation():
    blank = ConvHead(1, 2)
    tensors = {name: torch.ones(t.shape) for name, t in blank.state_dict().items()}
    tensors |= {"conv.weight": torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1), "bn.running_mean": torch.zeros(2)}
    tensors |= {"bn.bias": torch.zeros(2), "bn.running_var": torch.ones(2) - BATCH_NORM_EPS}
    pooled = assign(blank, tensors, "a head")(torch.tensor([[[[-2.0, 4.0], [8.0, 1.0]]]]))
    assert pooled[0].tolist() == pytest.approx([(4 + 6 + 1) / 4, 2 / 4])


def test_gradients_pass_the_activations():
    blank = InvertedResidual(4, 4, 3, 1, 6)
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.rand(t.shape, generator=generator) for name, t in blank.state_dict().items()}
    module = assign(blank, tensors, "a block").requires_grad_(True)
    maps = torch.rand(1, 4, 5, 5, generator=generator) / 100
    module(maps).sum().backward()
    analytic = module.project_bn.weight.grad[0].item()
    projected = F.batch_norm(
        module.project(F.relu6(module.depthwise_bn(module.depthwise(F.relu6(module.expand_bn(module.expand(maps))))))),
        module.project_bn.running_mean,
        module.project_bn.running_var,
        eps=BATCH_NORM_EPS,
    )
    assert analytic == pytest.approx(projected[:, 0].sum().item(), rel=1e-4)
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 8])
def test_leaving_out_taps_changes_neither_maps_nor_gradients(kernel: int, stride: int, groups: int) -> None:
    for side in range(1, 14):
        conv = SameConv2d(8, 8, kernel, stride, groups=groups).to_empty(device="cpu")
        norm = FrozenBatchNorm(8).to_empty(device="cpu")
        generator = torch.Generator().manual_seed(side)
        with torch.no_grad():
            for tensor in (conv.weight, norm.weight, norm.bias, norm.running_mean):
                tensor.normal_(generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
        maps = torch.randn(3, 8, side, side, generator=generator)
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        padded = F.pad(maps, (total // 2, total - total // 2) * 2)
        expected = norm(F.conv2d(padded, conv.weight, None, stride, groups=groups))
        weights = torch.randn(expected.shape, generator=generator)
        parameters = [conv.weight, norm.weight, norm.bias]
        expected_gradients = torch.autograd.grad((expected * weights).sum(), parameters)
        found = conv.normalised(maps, norm)
        gradients = torch.autograd.grad((found * weights).sum(), parameters)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        for gradient, its in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(gradient, its, rtol=1e-3, atol=1e-3)
