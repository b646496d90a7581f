import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mu2net.train.crop import crop_and_resize, full_boxes, resize_weights, sample_boxes


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth waves with noise on top."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(rows / 7 + k) * np.cos(columns / 5 - k) for k in range(3)]
    return np.clip(np.stack(waves, axis=2) + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def never(count: int) -> np.ndarray:
    return np.zeros(count, dtype=bool)


@pytest.mark.parametrize("side", [8, 16, 24, 32, 33, 48, 64, 100])
def test_a_full_box_resizes_as_pillow_does(side):
    images = np.stack([photo(64, 64, seed) for seed in range(3)])
    found = crop_and_resize(images, full_boxes(3), never(3), side).numpy()
    for image, ours in zip(images, found, strict=True):
        pillow = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), dtype=np.float32)
        assert np.abs(ours - pillow).max() <= 1.01


@given(st.integers(0, 10_000))
def test_any_box_resizes_as_pillow_does(seed):
    rng = np.random.default_rng(seed)
    image, side = photo(40, 56, seed), int(rng.integers(4, 60))
    left, top = rng.uniform(0, 0.8, 2)
    width, height = rng.uniform(0.1, 1.0, 2) * (1 - np.array([left, top]))
    box = np.array([[left, top, left + width, top + height]])
    ours = crop_and_resize(image[None], box, never(1), side)[0].numpy()
    pixels = tuple(box[0] * np.array([56, 40, 56, 40]))
    pillow = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=pixels)
    # Pillow drops taps beyond a rounded reach and rounds between its two passes
    assert np.abs(ours - np.asarray(pillow, dtype=np.float32)).max() <= 2.0


def test_every_image_has_its_own_box():
    images = np.stack([photo(32, 32, seed) for seed in range(4)])
    boxes = sample_boxes(np.random.default_rng(0), np.ones(4, np.float32), 0.1, 0.5)
    together = crop_and_resize(images, boxes, never(4), 16)
    for index in range(4):
        alone = crop_and_resize(images[index : index + 1], boxes[index : index + 1], never(1), 16)
        assert np.abs((together[index] - alone[0]).numpy()).max() < 1e-3


def test_mirrored_images_are_flipped_left_to_right():
    images = np.stack([photo(32, 32, seed) for seed in range(2)])
    boxes = sample_boxes(np.random.default_rng(1), np.ones(2, np.float32), 0.2, 0.5)
    plain = crop_and_resize(images, boxes, never(2), 16).numpy()
    mixed = crop_and_resize(images, boxes, np.array([False, True]), 16).numpy()
    assert np.allclose(mixed[0], plain[0], atol=1e-3)
    assert np.allclose(mixed[1], plain[1, :, ::-1], atol=1e-3)


def test_weights_sum_to_one_even_at_the_borders():
    weights = resize_weights(np.array([0.0, 0.9]), np.array([1.0, 1.0]), 50, 7)
    assert weights.shape == (2, 7, 50)
    assert np.allclose(weights.sum(dim=2), 1.0)


aspects_of_images = st.lists(st.floats(0.2, 5.0), min_size=1, max_size=20)


@given(
    aspects_of_images,
    st.sampled_from([0.01, 0.05, 0.2, 0.5, 1.0]),
    st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    st.integers(0, 99),
)
def test_boxes_lie_inside_and_keep_the_limits_on_the_original(aspects, area_min, aspect_min, seed):
    aspects = np.array(aspects, dtype=np.float32)
    boxes = sample_boxes(np.random.default_rng(seed), aspects, area_min, aspect_min)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= -1e-9).all()
    assert (boxes <= 1 + 1e-9).all()
    original_aspect = width / height * aspects
    assert (original_aspect >= aspect_min - 1e-5).all()
    assert (original_aspect <= 1 / aspect_min + 1e-5).all()
    is_largest = np.isclose(width, 1.0) | np.isclose(height, 1.0)
    assert ((width * height >= area_min - 1e-9) | is_largest).all()


def test_boxes_spread_over_area_aspect_and_place():
    boxes = sample_boxes(np.random.default_rng(0), np.ones(4000, np.float32), 0.05, 0.75)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    deciles = np.quantile(width * height, [0.1, 0.5, 0.9])  # large boxes fit less often: a little below uniform
    assert np.allclose(deciles, [0.12, 0.46, 0.82], atol=0.03)
    assert abs((width > height).mean() - 0.5) < 0.03
    assert abs(((boxes[:, 0] + boxes[:, 2]) / 2).mean() - 0.5) < 0.02


def test_a_box_that_cannot_fit_becomes_the_largest_centred_one():
    wide = sample_boxes(np.random.default_rng(0), np.array([4.0], np.float32), 1.0, 1.0)
    assert np.allclose(wide, [[0.375, 0.0, 0.625, 1.0]])  # a square of the full height of a 4:1 image
    tall = sample_boxes(np.random.default_rng(0), np.array([0.25], np.float32), 1.0, 0.5)
    assert np.allclose(tall, [[0.0, 0.25, 1.0, 0.75]])


def test_draws_do_not_depend_on_the_limits():
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    sample_boxes(one, np.ones(7, np.float32), 0.05, 0.75)
    sample_boxes(other, np.full(7, 3.0, np.float32), 1.0, 1.0)
    assert one.random() == other.random()
