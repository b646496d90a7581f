import numpy as np
import pytest
import torch

from mu2net.core.rng import generator
from mu2net.errors import ConfigError
from mu2net.nn.backbone import Normalisation
from mu2net.train.augment import Draws, Pipeline, apply_pipeline, normalise, train_side

FULL = Pipeline(16, True, 0.2, 0.5, True, 0.2, 0.2, 0.2, 0.2)


def images(count: int = 6, side: int = 24) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def apply(pipeline: Pipeline, batch: np.ndarray, *key: int) -> torch.Tensor:
    draws = Draws.sample(pipeline, np.ones(len(batch), np.float32), generator(*key))
    return apply_pipeline(pipeline, batch, draws)


def test_hyperparameters_become_a_pipeline(hparams):
    pipeline = Pipeline.from_hparams(hparams)
    assert pipeline == Pipeline(8, True, 0.5, 0.75, False, 0.1, 0.1, 0.0, 0.0)


def test_a_missing_hyperparameter_is_named(hparams):
    del hparams["ds_hue_delta"]
    with pytest.raises(ConfigError, match="'ds_hue_delta' has no value"):
        Pipeline.from_hparams(hparams)


@pytest.mark.parametrize("changes", [{"image_size": 0}, {"area_min": 0.0}, {"aspect_min": 1.5}, {"hue": -0.1}])
def test_values_outside_their_domain_are_errors(changes):
    with pytest.raises(ConfigError, match="expected"):
        Pipeline(**{"image_size": 8, **changes})


def test_only_pipelines_without_draws_are_deterministic():
    assert Pipeline(8).is_deterministic
    assert Pipeline(8, has_crop=True).is_deterministic  # both minima at 1 switch cropping off
    assert FULL.without_augmentation().is_deterministic
    for changes in ({"has_crop": True, "area_min": 0.5}, {"has_flip": True}, {"contrast": 0.1}):
        assert not Pipeline(8, **changes).is_deterministic


def test_canonical_strings_are_equal_for_equal_work_only():
    assert Pipeline(8, has_crop=True).canonical() == Pipeline(8).canonical()
    assert Pipeline(8, has_crop=False, area_min=0.5).canonical() == Pipeline(8).canonical()
    assert len({p.canonical() for p in (FULL, Pipeline(8), Pipeline(16), Pipeline(8, has_flip=True))}) == 4


def test_crops_are_cut_from_larger_images_where_there_are_more_pixels(split):
    cropping = Pipeline(16, True, 0.2, 0.5)
    assert train_side(Pipeline(16), split(3, 0, side=100)) == 16
    assert [train_side(cropping, split(3, 0, side=side)) for side in (8, 20, 100)] == [16, 20, 32]


def test_a_batch_depends_on_its_key_alone():
    batch = images()
    assert torch.equal(apply(FULL, batch, 1, 2), apply(FULL, batch, 1, 2))
    assert not torch.equal(apply(FULL, batch, 1, 2), apply(FULL, batch, 1, 3))


def test_the_stored_images_are_not_written_to_and_may_be_read_only():
    batch = images(side=16)
    before = batch.copy()
    batch.flags.writeable = False
    for pipeline in (FULL, Pipeline(16), Pipeline(16, brightness=0.2), Pipeline(16, has_flip=True)):
        apply(pipeline, batch, 0)
    assert np.array_equal(batch, before)


def test_without_augmentation_images_of_the_right_size_pass_unchanged():
    batch = images(side=16)
    assert np.array_equal(apply(Pipeline(16), batch, 0).numpy(), batch)


def test_images_of_another_size_are_resized():
    found = apply(Pipeline(16), images(), 0)
    assert found.shape == (6, 16, 16, 3)
    assert found.dtype == torch.uint8


def test_half_of_the_images_are_mirrored():
    batch = images(400, 4)
    found = apply(Pipeline(4, has_flip=True), batch, 0).numpy()
    mirrored = (found == batch[:, :, ::-1]).all(axis=(1, 2, 3))
    assert ((found == batch).all(axis=(1, 2, 3)) | mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_brightness_shifts_every_image_by_its_own_number_of_levels():
    gray = np.full((200, 4, 4, 3), 128, dtype=np.uint8)
    found = apply(Pipeline(4, brightness=0.2), gray, 0).numpy()[:, 0, 0, 0].astype(int) - 128
    assert -51 <= found.min() < -40
    assert 40 < found.max() <= 51


def test_every_colour_change_has_an_effect_of_its_own():
    batch = images(side=16)
    names = ("brightness", "contrast", "saturation", "hue")
    found = [apply(Pipeline(16, **{name: 0.2}), batch, 0) for name in names]
    assert all(not np.array_equal(one.numpy(), batch) for one in found)
    assert len({one.numpy().tobytes() for one in found}) == 4


@pytest.mark.parametrize("is_channels_last", [False, True])
def test_normalisation_centres_and_lays_out(is_channels_last):
    batch = torch.tensor([[0, 100, 255]] * 16, dtype=torch.uint8).reshape(1, 4, 4, 3)
    found = normalise(batch, Normalisation((0, 100, 127), (1, 10, 128)), is_channels_last=is_channels_last)
    assert found.shape == (1, 3, 4, 4)
    assert found.dtype == torch.float32
    assert found[0, :, 2, 1].tolist() == [0, 0, 1]
    layout = torch.channels_last if is_channels_last else torch.contiguous_format
    assert found.is_contiguous(memory_format=layout)
