import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mu2net.nn.assign import assign
from mu2net.nn.batch_norm import BATCH_NORM_EPS, FrozenBatchNorm
from mu2net.nn.convolution import ConvHead, InvertedResidual, SameConv2d, Stem
from mu2net.nn.precision import autocast


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


def drawn(module, seed: int = 0):
    """Return a module in double precision with random parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in module.state_dict().items():
        scale = max(tensor[0].numel(), 1) ** -0.5 if tensor.ndim > 1 else 1.0
        tensors[name] = scale * torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensors[name] = tensors[name].abs() + 0.5
    return assign(module, tensors, "a module").double()


def random_block(inputs: int, outputs: int, kernel: int, stride: int) -> InvertedResidual:
    return drawn(InvertedResidual(inputs, outputs, kernel, stride, 6))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("size", [(8, 8), (6, 6), (3, 3), (2, 2), (1, 1), (3, 5), (7, 4)])
def test_small_maps_give_what_convolutions_give(kernel, stride, size, monkeypatch):
    block = random_block(4, 4, kernel, stride).requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(8, 4, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    results = []
    for small in (True, False):
        monkeypatch.setattr("mu2net.nn.convolution.is_small", lambda _, small=small: small)
        output = block(maps)
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        results.append((output, torch.autograd.grad((output * weights).sum(), [maps, *block.parameters()])))
    (output, gradients), (expected, their_gradients) = results
    assert output.std() > 0
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=0)
    for gradient, its in zip(gradients, their_gradients, strict=True):
        torch.testing.assert_close(gradient, its, atol=1e-9, rtol=0)


@pytest.mark.parametrize("size", [(3, 3), (1, 1), (2, 5)])
def test_the_last_convolution_gives_the_same_with_products(size, monkeypatch):
    head = drawn(ConvHead(6, 10)).double().requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(8, 6, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, 10, generator=generator, dtype=torch.float64)
    results = []
    for small in (True, False):
        monkeypatch.setattr("mu2net.nn.convolution.is_small", lambda _, small=small: small)
        output = head(maps)
        results.append((output, torch.autograd.grad((output * weights).sum(), [maps, *head.parameters()])))
    (output, gradients), (expected, their_gradients) = results
    assert output.std() > 0
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=0)
    for gradient, its in zip(gradients, their_gradients, strict=True):
        assert its.abs().max() > 0
        torch.testing.assert_close(gradient, its, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "make",
    [lambda: random_block(16, 16, 5, 1), lambda: random_block(16, 24, 3, 2), lambda: drawn(ConvHead(16, 24))],
)
def test_gradients_in_bfloat16_stay_near_and_have_the_types_of_what_they_are_for(make):
    module = make().float().requires_grad_(True)
    maps = torch.randn(16, 16, 4, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    gradients = {}
    for precision in ("float32", "bfloat16"):
        with autocast(torch.device("cpu"), precision):
            output = module(maps)
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
        gradients[precision] = torch.autograd.grad((output.float() * weights).sum(), [maps, *module.parameters()])
    for gradient, its in zip(gradients["bfloat16"], gradients["float32"], strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - its).norm() < 0.1 * its.norm()


def test_only_what_trains_has_gradients():
    block, head = random_block(4, 4, 3, 1).float().requires_grad_(False), drawn(ConvHead(4, 6)).float()
    maps = torch.randn(8, 4, 4, 4)
    head.requires_grad_(True)
    head(block(maps)).sum().backward()
    assert all(parameter.grad is None for parameter in block.parameters())
    assert all(parameter.grad is not None for parameter in head.parameters())
    entering = maps.clone().requires_grad_(True)
    head.requires_grad_(False)
    (gradient,) = torch.autograd.grad(head(block(entering)).sum(), [entering])
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("make", [lambda: random_block(4, 4, 3, 1), lambda: drawn(ConvHead(4, 6))])
def test_what_is_no_number_stays_so(make):
    module, maps = make().float(), torch.randn(8, 4, 4, 4)
    maps[3, 1, 2, 2] = float("nan")
    assert module(maps)[3].isnan().any()
    assert module(maps)[2].isfinite().all()


def test_small_maps_are_computed_without_convolutions_and_stay_channels_last(monkeypatch):
    block = random_block(4, 6, 5, 2).float()
    maps = torch.randn(8, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    expected = torch.cat([block(maps[:4]), block(maps[4:])])
    monkeypatch.setattr(SameConv2d, "_convolve", lambda *_: pytest.fail("a convolution was computed"))
    output = block(maps)
    assert output.shape == (8, 6, 3, 3)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("size", "again"), [(4, 3), (12, 1)])
def test_a_frozen_block_folds_its_batch_norms_once(size, again, monkeypatch):
    block, folds = random_block(4, 4, 3, 1).float(), []
    affine = FrozenBatchNorm.affine
    monkeypatch.setattr(FrozenBatchNorm, "affine", lambda self: folds.append(self) or affine(self))
    maps = torch.randn(8, 4, size, size)
    first = block(maps)
    assert torch.equal(block(maps), first)
    assert len(folds) == 3
    with torch.no_grad():
        block.project_bn.bias.add_(1)
    torch.testing.assert_close(block(maps), first + 1)
    assert len(folds) == 3 + again
    block.requires_grad_(True)
    block(maps)
    assert len(folds) == 6 + again


@pytest.mark.parametrize("size", [4, 12])
def test_a_block_computes_the_same_bits_whether_it_trains_or_not(size):
    block = random_block(4, 4, 5, 1).float()
    maps = torch.randn(8, 4, size, size)
    frozen = block(maps)
    block.requires_grad_(True)
    assert torch.equal(block(maps), frozen)
    with torch.inference_mode():
        assert torch.equal(block(maps), frozen)


def test_a_frozen_block_passes_gradients_after_inference():
    block = random_block(4, 4, 3, 1).float()
    maps = torch.randn(8, 4, 4, 4)
    with torch.inference_mode():
        block(maps)
    entering = maps.clone().requires_grad_(True)
    block(entering).sum().backward()
    assert entering.grad is not None
    assert all(parameter.grad is None for parameter in block.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [5, 8, 16])
def test_the_maps_of_an_image_do_not_depend_on_its_place(batch, precision):
    block = random_block(8, 8, 5, 2).float()
    with autocast(torch.device("cpu"), precision):
        for size in (2, 4, 8, 12):
            maps = torch.randn(batch, 8, size, size, generator=torch.Generator().manual_seed(size))
            assert torch.equal(block(maps.flip(0)), block(maps).flip(0))


@pytest.mark.parametrize(("size", "is_equal"), [(12, True), (4, False)])
@pytest.mark.parametrize("batch", [4, 8])
def test_under_bfloat16_large_maps_keep_their_bits_and_small_ones_stay_near(size, is_equal, batch):
    block = random_block(8, 8, 3, 1).float()
    maps = torch.randn(batch, 8, size, size, generator=torch.Generator().manual_seed(0))
    expected = block(maps)
    with autocast(torch.device("cpu"), "bfloat16"):
        found = block(maps)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected) is is_equal
    assert torch.allclose(found, expected, rtol=0.03, atol=0.03 * float(expected.abs().max()))


def random_module(module, seed=0):
    """Return a module with random parameters and statistics."""
    generator = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    tensors = {name: torch.rand(value.shape, generator=generator) + 0.1 for name, value in state.items()}
    return assign(module, tensors, "a module")


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: random_module(Stem(4)), (16, 3, 12, 12)),
        (lambda: random_block(4, 4, 5, 1).float(), (16, 4, 6, 6)),
        (lambda: random_block(4, 6, 3, 2).float(), (16, 4, 12, 12)),
        (lambda: random_module(InvertedResidual(4, 6, 3, 1, 1)), (16, 4, 12, 12)),
        (lambda: random_module(ConvHead(4, 8)), (16, 4, 6, 6)),
    ],
)
def test_measured_statistics_are_those_of_what_passes_through(make, size):
    module = make()
    maps = torch.randn(size, generator=torch.Generator().manual_seed(3)) * 3 + 1
    entering = {}
    norms = {name: part for name, part in module.named_modules() if isinstance(part, FrozenBatchNorm)}
    for name, norm in norms.items():
        norm.register_forward_pre_hook(lambda _, inputs, name=name: entering.setdefault(name, inputs[0]))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    output = module.measure_statistics(maps)
    torch.testing.assert_close(module(maps), output, atol=1e-4, rtol=1e-4)
    assert set(entering) == set(norms)
    for name, norm in norms.items():
        variance, mean = torch.var_mean(entering[name], dim=(0, 2, 3))
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
        assert not torch.equal(norm.running_mean, before[f"{name}.running_mean"])
    statistics = {f"{name}.{leaf}" for name in norms for leaf in ("running_mean", "running_var")}
    for name, value in module.state_dict().items():
        assert name in statistics or torch.equal(value, before[name])
