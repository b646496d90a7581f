"""A fine-tuning loop in plain PyTorch, as a competent practitioner writes it: what mu2net is measured against.

Float32, PyTorch's own number of threads, the whole network for every batch, gradients for the parameters that train and
for nothing below them, images in memory as uint8 and normalised a batch at a time, SGD, clipped gradients, a
learning-rate schedule, a validation after every interval whose best state is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

EVALUATION_BATCH_SIZE = 128
"""Images per batch of a validation."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Network input, float32 ``[B, 3, S, S]``, and class indices, int64 ``[B]``."""


class Loader(Protocol):
    """Gives the training batches."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        ...


class Images:
    """Labelled images in memory, uint8; normalised when they are asked for.

    Args:
        pixels: RGB, shape ``[images, S, S, 3]``.
        labels: Class indices, shape ``[images]``.
        mean: Mean per channel, in levels of 0 … 255.
        std: Standard deviation per channel, likewise.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        self._pixels = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        self.labels = torch.from_numpy(np.array(labels))
        self._mean, self._std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: torch.Tensor | slice) -> Batch:
        """Return some images, normalised, and their labels."""
        return self._pixels[indices].float().sub_(self._mean).div_(self._std), self.labels[indices]


@dataclass(frozen=True)
class ShuffledLoader:
    """Training batches in an order that is given.

    Args:
        images: The training images.
        order: Returns which images make the batch of a step.
    """

    images: Images
    order: Callable[[int], NDArray[np.int64]]

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        return self.images.take(torch.from_numpy(self.order(step)))


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned.

    Args:
        momentum: Momentum of SGD.
        is_nesterov: Whether it is Nesterov's.
        lr_at: Returns the learning rate of a step, counted from 0.
        max_norm: Global norm that gradients are clipped to.
    """

    momentum: float
    is_nesterov: bool
    lr_at: Callable[[int], float]
    max_norm: float = 1.0


@dataclass(frozen=True)
class PlainResult:
    """What a run of the loop gave.

    Args:
        accuracies: Validation accuracy after each interval, in [0, 1].
        train_seconds: Seconds of training, validation not included.
        validation_seconds: Seconds of all validations.
        state: Parameters and buffers of the best validation.
    """

    accuracies: tuple[float, ...]
    train_seconds: float
    validation_seconds: float
    state: dict[str, torch.Tensor]


class PlainTraining:
    """Fine-tunes one network.

    Args:
        network: The network; parameters that do not require gradients stay as they are.
        loader: The training batches.
        validation: The validation split.
        recipe: How it is trained.
    """

    def __init__(self, network: nn.Module, loader: Loader, validation: Images, recipe: Recipe) -> None:
        self.network, self._loader, self._validation, self._recipe = network, loader, validation, recipe
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.SGD(
            self._parameters, lr=recipe.lr_at(0), momentum=recipe.momentum, nesterov=recipe.is_nesterov
        )

    def train(self, first: int, stop: int) -> float:
        """Take the steps from ``first`` until before ``stop``; return the seconds that they took."""
        started = time.perf_counter()
        for step in range(first, stop):
            inputs, labels = self._loader.batch(step)
            loss = F.cross_entropy(self.network(inputs), labels)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.max_norm)
            for group in self._optimizer.param_groups:
                group["lr"] = self._recipe.lr_at(step)
            self._optimizer.step()
        return time.perf_counter() - started

    def validate(self) -> float:
        """Return the accuracy on the validation split, in [0, 1]."""
        return accuracy(self.network, self._validation)

    def run(self, intervals: int, steps_per_interval: int) -> PlainResult:
        """Train for some intervals, validate after each, and return the best state of all."""
        accuracies: list[float] = []
        best: dict[str, torch.Tensor] = {}
        train_seconds = validation_seconds = 0.0
        for interval in range(intervals):
            train_seconds += self.train(interval * steps_per_interval, (interval + 1) * steps_per_interval)
            started = time.perf_counter()
            found = self.validate()
            if not accuracies or found > max(accuracies):
                best = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
            accuracies.append(found)
            validation_seconds += time.perf_counter() - started
        return PlainResult(tuple(accuracies), train_seconds, validation_seconds, best)


@torch.no_grad()
def accuracy(network: nn.Module, images: Images) -> float:
    """Return the top-1 accuracy of a network, in [0, 1]."""
    correct = 0
    for start in range(0, len(images), EVALUATION_BATCH_SIZE):
        inputs, labels = images.take(slice(start, start + EVALUATION_BATCH_SIZE))
        correct += int((network(inputs).argmax(dim=1) == labels).sum())
    return correct / len(images)
