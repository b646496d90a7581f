"""What a path gets right and wrong on its test images: confusions, calibration, and its worst mistakes.

The test split is read to be looked at; nothing is chosen by it. Answers are kept in the cache, by path.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path as FilePath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from mu2net.core.path import Path
from mu2net.data.task import Pixels, TaskData, UInt8Array
from mu2net.errors import Mu2NetError
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import choose_device
from mu2net.report.quality_facts import BinFacts, ClassFacts, ConfusionFacts, MistakeFacts, QualityFacts
from mu2net.search.arithmetic import path_compute
from mu2net.search.events import Observer, Preparing
from mu2net.search.images import CACHE_NAME, load_recorded_task
from mu2net.search.publication import load_chain
from mu2net.store.store import Store
from mu2net.train.augment import Pipeline
from mu2net.train.evaluate import evaluate

BINS = 15
"""Bins of confidence, of equal width (arXiv 1706.04599, section 3)."""

MOST_CLASSES = 50
"""Classes that a whole matrix is given for; of more, the largest confusions alone."""

MOST_CONFUSIONS = 20
MOST_MISTAKES = 8
THUMBNAIL = 64
"""Side of a thumbnail, in pixels."""

FOLDER = "reports"
"""The folder of kept answers in the cache."""

_log = logging.getLogger("mu2net")

Counts = NDArray[np.int64]


def measure_quality(store: Store, backbone: Backbone, path: Path, observer: Observer) -> QualityFacts:
    """Return what a live path gets right and wrong on its test images; from the cache where that is known already.

    Args:
        store: The system.
        backbone: What its slots compute.
        path: A live path of a task.
        observer: Told about progress.

    Returns:
        What was measured; where the images cannot be read any more, why.
    """
    kept = known_quality(store, path)
    if kept is not None:
        return kept
    task = path.task or ""

    def tell(what: str, done: int, total: int) -> None:
        observer(Preparing(f"{what} of {task}", done, total))

    try:
        data = load_recorded_task(store, task, lambda done, total: tell("decoding the images", done, total))
    except Mu2NetError as error:
        return QualityFacts(task=task, problem=str(error))
    device, pipeline = choose_device(), Pipeline.from_hparams(path.hparams)
    found = evaluate(
        load_chain(store, backbone, path, device),
        data.test,
        pipeline,
        path_compute(backbone, path, device),
        name="test",
        on_batch=lambda done, total: tell("looking at the test images", done, total),
    )
    thumbnails = None if _is_private(store, path) else data.test.pixels(pipeline.image_size)
    facts = describe(data, found.logits, found.labels.numpy(), thumbnails)
    _keep(store, path, facts)
    return facts


def known_quality(store: Store, path: Path) -> QualityFacts | None:
    """Return what was measured for a path before; ``None`` where that is not known.

    Args:
        store: The system.
        path: A live path of a task.
    """
    try:
        found = QualityFacts.model_validate_json(_file(store, path).read_bytes())
    except (OSError, ValidationError):
        return None
    return found.model_copy(update={"mistakes": ()}) if _is_private(store, path) else found


def _is_private(store: Store, path: Path) -> bool:
    return path.is_private or any(task.is_private for task in store.tasks() if task.name == path.task)


def _file(store: Store, path: Path) -> FilePath:
    """Return where the answer for a path is kept: named by the path and by what it consists of."""
    name = hashlib.sha256("\n".join((path.id, *path.digests)).encode()).hexdigest()
    return store.directory / CACHE_NAME / FOLDER / f"{name}.json"


def _keep(store: Store, path: Path, facts: QualityFacts) -> None:
    """Keep an answer; a report is made without, too."""
    file = _file(store, path)
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(facts.model_dump_json(), "utf-8")
        draft.replace(file)
    except OSError as error:
        _log.warning("what was measured for %s could not be kept in the cache: %s", path.id, error)


def describe(data: TaskData, logits: torch.Tensor, labels: NDArray[np.int64], pixels: Pixels | None) -> QualityFacts:
    """Return what some answers get right and wrong.

    Args:
        data: The task.
        logits: Float32, shape ``[images, classes]``.
        labels: Class indices, shape ``[images]``.
        pixels: The images, for thumbnails; ``None`` for no thumbnails.
    """
    probabilities = torch.softmax(logits.double(), dim=1).numpy()
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = answers == labels
    matrix: Counts = np.zeros((len(data.classes), len(data.classes)), np.int64)
    np.add.at(matrix, (labels, answers), 1)
    bins = _bins(confidence, correct)
    return QualityFacts(
        task=data.name,
        images=len(labels),
        accuracy=float(correct.mean()),
        calibration_error=sum(one.count / len(labels) * abs(one.accuracy - one.confidence) for one in bins),
        bins=bins,
        classes=_classes(data, matrix),
        confusion=tuple(map(tuple, matrix.tolist())) if len(data.classes) <= MOST_CLASSES else (),
        confusions=_confusions(data.classes, matrix),
        mistakes=_mistakes(data.classes, labels, answers, confidence, pixels),
    )


def _bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[BinFacts, ...]:
    """Return confidence and accuracy by bins ](i - 1) / BINS, i / BINS] of confidence, without empty ones."""
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        BinFacts(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(chosen.sum()),
            confidence=float(confidence[chosen].mean()),
            accuracy=float(correct[chosen].mean()),
        )
        for number in range(BINS)
        if (chosen := place == number).any()
    )


def _classes(data: TaskData, matrix: Counts) -> tuple[ClassFacts, ...]:
    train = np.bincount(data.train.labels, minlength=len(data.classes))
    return tuple(
        ClassFacts(
            name=name,
            train=int(train[index]),
            test=int(matrix[index].sum()),
            correct=int(matrix[index, index]),
            answered=int(matrix[:, index].sum()),
        )
        for index, name in enumerate(data.classes)
    )


def _confusions(classes: Sequence[str], matrix: Counts) -> tuple[ConfusionFacts, ...]:
    """Return the most frequent mistakes, the first in order of the classes where they are equally frequent."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(classes)) for place in order]
    return tuple(
        ConfusionFacts(label=classes[label], answer=classes[answer], count=int(wrong[label, answer]))
        for label, answer in pairs
        if wrong[label, answer]
    )


def _mistakes(
    classes: Sequence[str],
    labels: NDArray[np.int64],
    answers: NDArray[np.int64],
    confidence: NDArray[np.float64],
    pixels: Pixels | None,
) -> tuple[MistakeFacts, ...]:
    """Return the most confident mistakes as thumbnails."""
    if pixels is None:
        return ()
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    return tuple(
        MistakeFacts(
            index=int(index),
            label=classes[labels[index]],
            answer=classes[answers[index]],
            confidence=float(confidence[index]),
            thumbnail=_thumbnail(np.asarray(pixels[np.array([index])])[0]),
        )
        for index in worst
    )


def _thumbnail(pixels: UInt8Array) -> str:
    """Return an image of shape ``[side, side, 3]`` as the base64 of a small JPEG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR).save(stream, "JPEG", quality=75)
    return base64.b64encode(stream.getvalue()).decode()
