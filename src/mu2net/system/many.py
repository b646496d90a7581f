"""Predictions of many tasks for many images, as ``System.predict_many`` gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from mu2net.data.decode import check_several, open_rgb
from mu2net.errors import ConfigError, ImageError, UnknownNameError
from mu2net.search.events import Observer, Preparing
from mu2net.system.classifier import Classifier, Edition, LogitArray, Prepared
from mu2net.system.inference import ImageItem, image_name, to_prediction
from mu2net.system.summary import Prediction

BATCH = 32
"""Images that run through the network together."""


def choose_tasks(patterns: Sequence[str], known: Sequence[str], evolved: Sequence[str]) -> list[str]:
    """Return the tasks that some patterns name, each once, in the order of ``known``.

    Args:
        patterns: Names of tasks, or patterns such as ``*`` and ``flowers-*``, which name the evolved tasks only.
        known: All tasks.
        evolved: Those that have a live path.

    Raises:
        ConfigError: A task was never evolved, no evolved task has a name of the pattern, or nothing is named.
        UnknownNameError: There is no such task.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        is_pattern = any(sign in pattern for sign in "*?[")
        found = [name for name in evolved if fnmatchcase(name, pattern)] if is_pattern else [pattern]
        if not found:
            raise ConfigError(f"no task with a path is called {pattern!r}; see `mu2net tasks`")
        chosen.update(found)
    if not chosen:
        raise ConfigError("no task is named; name one or several, or all with '*'")
    for name in sorted(chosen):
        if name not in known:
            raise UnknownNameError("task", name, known)
        if name not in evolved:
            raise ConfigError(f"task {name!r} has no path yet; run: mu2net evolve {name}")
    return [name for name in known if name in chosen]


def predict_many(
    classifier: Classifier,
    edition: Edition,
    names: Sequence[str],
    images: Sequence[ImageItem],
    top: int,
    observer: Observer,
    on_bad_image: Callable[[ImageError], None] | None,
) -> Iterator[Prediction]:
    """Yield predictions, batch by batch; see ``System.predict_many``."""
    if top < 1:
        raise ConfigError(f"top is {top}; expected at least 1 class")
    check_several(images)
    for start in range(0, len(images), BATCH):
        chosen = [(start + index, item) for index, item in enumerate(images[start : start + BATCH])]
        opened = _open(chosen, {edition.tasks[name].side for name in names}, on_bad_image)
        rows = range(len(opened))
        found = classifier.classify(edition, [image for _, image in opened], dict.fromkeys(names, rows))
        probabilities = {name: softmax(logits) for name, logits in found.logits.items()}
        for row, (image, _) in enumerate(opened):
            for name in names:
                yield to_prediction(name, image, edition.tasks[name].classes, probabilities[name][row], top)
        if len(images) > BATCH:
            observer(Preparing("classifying images", start + len(chosen), len(images)))


def _open(
    chosen: Sequence[tuple[int, ImageItem]], sides: set[int], on_bad_image: Callable[[ImageError], None] | None
) -> list[tuple[str, Prepared]]:
    """Return names of those that decode, and what networks need of them: large photographs are not kept."""
    opened = []
    for index, item in chosen:
        try:
            opened.append((image_name(item, index), Prepared(open_rgb(item, index), sides)))
        except ImageError as error:
            if on_bad_image is None:
                raise
            on_bad_image(error)
    return opened


def softmax(logits: LogitArray) -> NDArray[np.float32]:
    """Return probabilities, shape ``[images, classes]``."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return shares
