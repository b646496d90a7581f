import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu2net.train.color import rotate_hue, scale_contrast, scale_saturation, shift_brightness

channels = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))


def pixel(rgb) -> torch.Tensor:
    return torch.tensor(rgb, dtype=torch.float32).reshape(1, 3, 1, 1)


def draw(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float32)


def by_colorsys(rgb, *, hue: float = 0.0, saturation: float = 1.0) -> np.ndarray:
    h, s, v = colorsys.rgb_to_hsv(*(level / 255 for level in rgb))
    return 255 * np.array(colorsys.hsv_to_rgb((h + hue) % 1.0, min(s * saturation, 1.0), v))


@given(channels, st.floats(-0.2, 0.2))
def test_hue_rotates_as_in_hsv(rgb, delta):
    found = rotate_hue(pixel(rgb), draw(delta)).numpy().ravel()
    assert np.abs(found - by_colorsys(rgb, hue=delta)).max() <= 0.51


@given(channels, st.floats(0.8, 1.2))
def test_saturation_scales_as_in_hsv(rgb, factor):
    found = scale_saturation(pixel(rgb), draw(factor)).numpy().ravel()
    assert np.abs(found - by_colorsys(rgb, saturation=factor)).max() <= 0.51


def test_a_third_of_the_circle_turns_red_into_green():
    assert rotate_hue(pixel((200, 10, 10)), draw(1 / 3)).ravel().tolist() == [10, 200, 10]


def test_brightness_is_a_share_of_the_full_range_and_clamps():
    images = torch.tensor([[0.0, 100.0, 250.0], [0.0, 100.0, 250.0]]).reshape(2, 3, 1, 1)
    found = shift_brightness(images, torch.tensor([0.1, -0.1])).reshape(2, 3)
    assert found.tolist() == [[26, 126, 255], [0, 74, 224]]


def test_contrast_scales_around_the_mean_of_each_image_and_channel():
    images = (
        torch.tensor([[[50.0, 0, 7], [150.0, 0, 7]], [[0.0, 0, 7], [40.0, 0, 7]]])
        .reshape(2, 2, 3)
        .transpose(1, 2)
        .unsqueeze(2)
    )
    found = scale_contrast(images, torch.tensor([1.2, 0.5]))
    assert found[:, 0, 0].tolist() == [[40, 160], [10, 30]]
    assert found[:, 2].unique().tolist() == [7]


@pytest.mark.parametrize(
    ("change", "neutral"),
    [(shift_brightness, 0.0), (scale_contrast, 1.0), (scale_saturation, 1.0), (rotate_hue, 0.0), (rotate_hue, 1.0)],
)
def test_a_neutral_draw_changes_nothing(change, neutral):
    images = torch.randint(0, 256, (3, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(change(images, torch.full((3,), neutral)), images)
