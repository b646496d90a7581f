import pytest
import torch
from torch.nn import functional as F

from mu2net.nn.relu6 import relu6_


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_relu6_with_its_gradient_to_the_bit(layout):
    values = (
        torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).mul_(6).contiguous(memory_format=layout)
    )
    values[0, 0, 0, :3] = torch.tensor([0.0, 6.0, -0.0])
    outputs, gradients = [], []
    for activate in (relu6_, F.relu6):
        leaf = values.clone().requires_grad_(True)
        output = activate(leaf * 1)
        (output * output).sum().backward()
        outputs.append(output.detach())
        gradients.append(leaf.grad)
    assert torch.equal(*outputs)
    assert torch.equal(*gradients)


def test_it_writes_over_its_input_and_keeps_nothing_else():
    kept = []
    maps = torch.randn(4, requires_grad=True) * 1
    place = maps.data_ptr()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.data_ptr()), lambda _: None):
        assert relu6_(maps).data_ptr() == place
    assert kept == [place]


def test_without_gradients_it_records_no_graph():
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            assert relu6_(torch.tensor([-1.0, 3.0, 9.0])).tolist() == [0, 3, 6]
    assert not relu6_(torch.ones(2)).requires_grad
