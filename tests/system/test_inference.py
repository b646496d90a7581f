from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mu2net.errors import ConfigError, ImageError, UnknownNameError
from mu2net.search.events import Preparing
from mu2net.system import System


@pytest.fixture
def images(evolved):
    """Test images of task one, as files."""
    return sorted((Path(evolved.task("one").source) / "test").rglob("*.png"))


def test_all_kinds_of_images_give_the_same_answer(evolved, images):
    items = [
        images[0],
        str(images[0]),
        Image.open(images[0]),
        np.asarray(Image.open(images[0])),
        Image.open(images[0]).convert("RGBA"),
    ]
    predictions = evolved.predict("one", items)
    assert {(found.label, found.top) for found in predictions} == {(predictions[0].label, predictions[0].top)}
    names = [str(images[0]), str(images[0]), "image[2]", "image[3]", "image[4]"]
    assert [found.image for found in predictions] == names


def test_gray_and_large_images_are_welcome(evolved):
    rng = np.random.default_rng(0)
    gray, large = rng.integers(0, 255, (9, 7), np.uint8), rng.integers(0, 255, (70, 50, 3), np.uint8)
    assert len(evolved.predict("one", [gray, large])) == 2


def test_probabilities_are_sorted_and_sum_to_one(evolved, images):
    (found,) = evolved.predict("one", images[:1], top=99)
    labels, shares = zip(*found.top, strict=True)
    assert sorted(labels) == ["blue", "green", "red"]
    assert list(shares) == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert (found.label, found.probability) == found.top[0]
    (best,) = evolved.predict("one", images[:1], top=1)
    assert best.top == found.top[:1]


def test_an_answer_does_not_depend_on_its_company(evolved, images):
    together = evolved.predict("one", images)
    assert len(together) == 24
    assert [evolved.predict("one", [image])[0] for image in images] == together
    assert evolved.predict("one", images[::-1]) == together[::-1]


def test_no_images_no_answers(evolved):
    assert evolved.predict("one", []) == []


def test_bad_images_and_numbers(evolved, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    for name in ("bad.png", "missing.png"):
        with pytest.raises(ImageError, match=name):
            evolved.predict("one", [tmp_path / name])
    with pytest.raises(ImageError):
        evolved.predict("one", [np.zeros((8, 8, 3), np.float32)])
    with pytest.raises(ConfigError, match="top is 0"):
        evolved.predict("one", [], top=0)


def test_a_single_image_is_refused_and_a_batch_is_welcome(evolved, images):
    image = Image.open(images[0]).convert("RGB")
    array = np.asarray(image)
    for single in (str(images[0]), images[0], image, array, array[..., 0]):
        with pytest.raises(ConfigError, match="expected a list of images, found one"):
            evolved.predict("one", single)
    (alone,) = evolved.predict("one", [array])
    assert [found.top for found in evolved.predict("one", np.stack([array, array]))] == [alone.top] * 2


def test_predictions_are_those_that_evaluation_counts(evolved, images):
    predicted = evolved.predict("one", images)
    right = np.mean([found.label == image.parent.name for found, image in zip(predicted, images, strict=True)])
    evaluation = evolved.evaluate("one")
    assert evaluation.accuracy == right
    for label, share in evaluation.per_class.items():
        its = [
            found.label == label for found, image in zip(predicted, images, strict=True) if image.parent.name == label
        ]
        assert share == np.mean(its)


@pytest.mark.parametrize("name", ["one", "two"])
def test_evaluation_finds_what_was_recorded(evolved, name):
    task, events = evolved.task(name), []
    found = evolved.evaluate(name, observer=events.append)
    assert (found.task, found.path_id, found.split, found.num_images) == (name, task.path_id, "test", 24)
    assert found.accuracy == found.recorded == task.test
    assert np.mean(list(found.per_class.values())) == pytest.approx(found.accuracy)
    assert Preparing("evaluating the test split", 24, 24) in events
    validation = evolved.evaluate(name, split="validation")
    assert validation.accuracy == validation.recorded == task.validation
    assert evolved.evaluate(name, split="train").recorded is None


def test_an_unknown_split_is_an_error(evolved):
    with pytest.raises(UnknownNameError, match="unknown split 'testt'; did you mean 'test'"):
        evolved.evaluate("one", split="testt")


def test_more_networks_than_are_kept_in_memory(evolved, images, monkeypatch):
    from mu2net.system import inference

    monkeypatch.setattr(inference, "_KEPT_NETWORKS", 1)
    first = evolved.predict("one", images)
    evolved.predict("two", images)
    assert len(evolved._networks._chains) == 1
    assert evolved.predict("one", images) == first


def test_a_new_path_is_used_at_once(evolved, images, small):
    old = evolved.predict("one", images)
    before = evolved.task("one").path_id
    for seed in range(20):
        evolved.evolve("one", children=2, seed=seed, **small)
        if evolved.task("one").path_id != before:
            break
    assert evolved.predict("one", images) != old
    with System.open(evolved.directory) as again:
        assert again.predict("one", images) == evolved.predict("one", images)
