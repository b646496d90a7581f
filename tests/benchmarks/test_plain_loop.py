from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.plain_loop import Images, PlainTraining, Recipe, ShuffledLoader, accuracy

SIDE, CLASSES = 4, 3


@pytest.fixture
def images():
    """Images whose class is their brightest channel."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 96)
    pixels = rng.integers(0, 60, (96, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[np.arange(96), :, :, labels] += 100
    return Images(pixels, labels, (50.0, 50.0, 50.0), (40.0, 40.0, 40.0))


def network() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * SIDE * SIDE, CLASSES))
    net[0].requires_grad_(False)
    nn.init.zeros_(net[2].weight)
    return net


def training(images: Images, recipe: Recipe) -> PlainTraining:
    torch.manual_seed(0)
    loader = ShuffledLoader(images, lambda step: np.random.default_rng(step).permutation(96)[:32])
    return PlainTraining(network(), loader, images, recipe)


def test_images_are_normalised_when_they_are_taken(images):
    inputs, labels = images.take(slice(0, 2))
    assert inputs.shape == (2, 3, SIDE, SIDE)
    assert inputs.dtype == torch.float32
    assert float(inputs.max()) <= (160 - 50) / 40
    assert labels.tolist() == images.labels[:2].tolist()
    again, _ = images.take(torch.tensor([0, 1]))
    assert torch.equal(inputs, again)


def test_the_loop_learns_and_leaves_the_frozen_layer_alone(images):
    loop = training(images, Recipe(0.9, False, lambda _: 0.1))
    frozen = loop.network[0].weight.clone()
    result = loop.run(4, 5)
    assert result.accuracies[-1] > 0.95
    assert torch.equal(loop.network[0].weight, frozen)
    assert len(result.accuracies) == 4
    assert result.train_seconds > 0
    assert result.validation_seconds > 0


def test_the_best_state_is_kept(images):
    steps = 5
    loop = training(images, Recipe(0.9, False, lambda step: 0.1 if step < steps else -1.0))
    result = loop.run(3, steps)
    assert accuracy(loop.network, images) < max(result.accuracies)
    loop.network.load_state_dict(result.state)
    assert accuracy(loop.network, images) == max(result.accuracies)


def test_gradients_are_clipped(images):
    loop = training(images, Recipe(0.0, False, lambda _: 1.0, max_norm=1e-6))
    before = loop.network[2].weight.clone()
    loop.train(0, 1)
    assert 0 < float((loop.network[2].weight - before).detach().norm()) <= 1.01e-6
