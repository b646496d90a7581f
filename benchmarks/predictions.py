"""Predictions: mu2net's network as it serves, against the plain network, from the same uint8 images."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

from benchmarks.children import chain_of, compute_of, plain_images, plain_network, propose
from benchmarks.spread import Pair
from benchmarks.workplace import Workplace
from mu2net.train.evaluate import predict_logits

SECONDS = 2.0
"""Length of one run of one side."""


def measure_serving(place: Workplace, batch_size: int, pairs: int, seed: int, seconds: float = SECONDS) -> list[Pair]:
    """Return pairs of runs that predict the same batch again and again; rates are images per second.

    Args:
        place: The system.
        batch_size: Images of a batch.
        pairs: Number of pairs.
        seed: Seed of the child.
        seconds: Length of one run of one side.
    """
    child = propose(place, "finetune", 1, seed, augments=False)[0]
    images = plain_images(place, child, place.data.train)
    chosen = slice(0, batch_size)
    side = int(child.job.proposal.hparams["ds_image_size"])
    pixels = place.data.train.pixels(side)[np.arange(batch_size)]
    network, chain, compute = plain_network(place, child.job), chain_of(place, child.job), compute_of(place)

    def predict_plain() -> None:
        with torch.no_grad():
            network(images.take(chosen)[0])

    def predict_ours() -> None:
        predict_logits(chain, pixels, compute, batch_size=batch_size)

    found = []
    for _ in range(pairs):
        plain = _rate(predict_plain, batch_size, seconds)
        ours = _rate(predict_ours, batch_size, seconds)
        found.append(Pair(plain, ours, 1 / plain, 1 / ours))
    return found


def _rate(predict: Callable[[], None], batch_size: int, seconds: float) -> float:
    """Return images per second, after one call that does not count."""
    predict()
    started, calls = perf_counter(), 0
    while perf_counter() - started < seconds:
        predict()
        calls += 1
    return calls * batch_size / (perf_counter() - started)
