import torch

from mu2net.nn.backbone import Normalisation
from mu2net.train.compute import Compute, thread_count


def test_a_backbone_says_how_its_images_look(vit):
    compute = Compute.of(vit, torch.device("cpu"), "float32")
    inputs = compute.inputs(torch.full((2, 8, 8, 3), 255, dtype=torch.uint8))
    assert inputs.shape == (2, 3, 8, 8)
    assert torch.equal(inputs, torch.ones(2, 3, 8, 8))
    assert not compute.is_channels_last


def test_arithmetic_holds_inside_the_block_only():
    weights = torch.ones(4, 4)
    compute = Compute(torch.device("cpu"), "bfloat16", Normalisation((0, 0, 0), (1, 1, 1)))
    with compute.arithmetic():
        assert (weights @ weights).dtype == torch.bfloat16
    assert (weights @ weights).dtype == torch.float32


def test_the_number_of_threads_comes_back():
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with thread_count(None):
        assert torch.get_num_threads() == before
