import pytest
import torch
from torch import nn

from mu2net.errors import RootError
from mu2net.nn.assign import assign, read, shape_of


def blank():
    return nn.Linear(3, 2, device="meta")


def test_the_tensors_themselves_become_the_parameters():
    tensors = {"weight": torch.randn(2, 3), "bias": torch.randn(2)}
    module = assign(blank(), tensors, "a layer")
    assert module.weight.data_ptr() == tensors["weight"].data_ptr()
    assert not module.weight.requires_grad
    assert not module.bias.requires_grad


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, r"a layer.*missing \['bias'\]"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "odd": torch.zeros(1)}, r"not expected \['odd'\]"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"'weight' has shape \[3, 2\]; expected \[2, 3\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors, message):
    with pytest.raises(RootError, match=message):
        assign(blank(), tensors, "a layer")


def test_reading_returns_contiguous_float32_copies():
    module = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last, dtype=torch.bfloat16)
    tensors = read(module)
    assert all(t.is_contiguous() and t.dtype == torch.float32 and not t.requires_grad for t in tensors.values())
    assert torch.equal(tensors["weight"], module.weight.detach().float())
    tensors["weight"].zero_()
    assert module.weight.detach().abs().sum() > 0


def test_the_shape_of_a_missing_tensor_is_an_error():
    with pytest.raises(RootError, match="a layer: tensor 'weight' is missing; found \\['bias'\\]"):
        shape_of({"bias": torch.zeros(1)}, "weight", "a layer")
