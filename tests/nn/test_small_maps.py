import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mu2net.nn.small_maps import arithmetic, is_small, tap_placement


@settings(deadline=None, max_examples=50)
@given(
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_the_matrix_of_a_kernel_convolves_with_same_padding(kernel, stride, height, width):
    generator = torch.Generator().manual_seed(0)
    taps = torch.randn(kernel, kernel, generator=generator)
    maps = torch.randn(1, 1, height, width, generator=generator)
    matrix = (taps.flatten() @ tap_placement(kernel, stride, height, width)).view(height * width, -1)
    totals = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (height, width)]
    padding = (totals[1] // 2, totals[1] - totals[1] // 2, totals[0] // 2, totals[0] - totals[0] // 2)
    expected = F.conv2d(F.pad(maps, padding), taps[None, None], stride=stride)
    torch.testing.assert_close(maps.flatten() @ matrix, expected.flatten(), atol=1e-5, rtol=0)


def test_every_product_of_two_positions_has_one_tap_at_most():
    assert tap_placement(5, 1, 6, 6).sum(dim=0).max() == 1


def test_a_placement_that_inference_computed_serves_autograd():
    with torch.inference_mode():
        placement = tap_placement(3, 2, 4, 5)
    taps = torch.ones(2, 9, requires_grad=True)
    (taps @ placement).sum().backward()
    assert taps.grad is not None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 4, 8, 8), True), ((8, 4, 1, 1), True), ((8, 4, 9, 8), False), ((7, 4, 8, 8), False), ((64, 4, 4, 16), True)],
)
def test_maps_of_few_positions_in_batches_of_many_images_are_small(shape, expected):
    assert is_small(torch.zeros(shape)) is expected
    assert not is_small(torch.zeros(shape, device="meta"))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 4, 9, 8), torch.float32), ((8, 4, 8, 8), torch.bfloat16), ((7, 4, 8, 8), torch.bfloat16)],
)
def test_large_maps_are_computed_in_float32_under_bfloat16(shape, dtype):
    maps, kernel = torch.ones(shape), torch.ones(4, 4, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16), arithmetic(maps):
        assert torch.nn.functional.conv2d(maps, kernel).dtype == dtype
    with arithmetic(maps):
        assert torch.nn.functional.conv2d(maps, kernel).dtype == torch.float32
