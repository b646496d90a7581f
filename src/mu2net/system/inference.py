"""Runs live paths: predictions and evaluations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import get_args

import numpy as np
import torch
from PIL import Image

from mu2net.core.path import Path
from mu2net.data.decode import check_several, load_images
from mu2net.data.task import TaskData, UInt8Array
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import Chain
from mu2net.nn.precision import choose_device
from mu2net.search.arithmetic import path_compute
from mu2net.search.events import Observer, Preparing
from mu2net.search.publication import load_chain
from mu2net.store.store import Store
from mu2net.system.classifier import PREDICTION_BATCH
from mu2net.system.summary import EvaluationSummary, Prediction
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitName
from mu2net.train.compute import Compute
from mu2net.train.evaluate import evaluate, predict_logits

ImageItem = str | FilePath | Image.Image | UInt8Array
"""What can be classified: the path of an image file, a Pillow image, or an array (gray, RGB or RGBA)."""

_KEPT_NETWORKS = 4


class NetworkCache:
    """Networks of the paths that were used last.

    Args:
        store: Where paths live.
        backbone: What slots compute.
    """

    def __init__(self, store: Store, backbone: Backbone) -> None:
        self._store, self.backbone = store, backbone
        self._chains: OrderedDict[str, Chain] = OrderedDict()

    def chain(self, path: Path) -> Chain:
        """Return the network of a path, on the device of ``compute``."""
        if path.id not in self._chains:
            self._chains[path.id] = load_chain(self._store, self.backbone, path, choose_device())
            while len(self._chains) > _KEPT_NETWORKS:
                self._chains.popitem(last=False)
        self._chains.move_to_end(path.id)
        return self._chains[path.id]

    def compute(self, path: Path) -> Compute:
        """Return the arithmetic of a path on this machine's device."""
        return path_compute(self.backbone, path, choose_device())

    def clear(self) -> None:
        """Forget all networks."""
        self._chains.clear()


def predict(
    store: Store, networks: NetworkCache, path: Path, images: Sequence[ImageItem], top: int
) -> list[Prediction]:
    """Classify images with a live path; see ``System.predict``."""
    if top < 1:
        raise ConfigError(f"top is {top}; expected at least 1 class")
    check_several(images)
    if not len(images):
        return []
    task = path.task or ""
    classes = store.task(task).classes
    side = Pipeline.from_hparams(path.hparams).image_size
    chain, compute = networks.chain(path), networks.compute(path)
    found: list[Prediction] = []
    for start in range(0, len(images), PREDICTION_BATCH):
        chosen = images[start : start + PREDICTION_BATCH]
        logits = predict_logits(chain, load_images(chosen, side), compute, batch_size=PREDICTION_BATCH)
        probabilities = torch.softmax(logits, dim=1).numpy()
        found += [
            to_prediction(task, image_name(item, start + index), classes, row, top)
            for index, (item, row) in enumerate(zip(chosen, probabilities, strict=True))
        ]
    return found


def to_prediction(task: str, image: str, classes: Sequence[str], probabilities: np.ndarray, top: int) -> Prediction:
    """Return the answer of a task for one image.

    Args:
        task: The task.
        image: Name of the image.
        classes: Class names.
        probabilities: Shape ``[classes]``.
        top: How many classes to name.
    """
    order = np.argsort(-probabilities, kind="stable")[:top]
    best = tuple((classes[index], float(probabilities[index])) for index in order)
    return Prediction(task, image, best[0][0], best[0][1], best)


def image_name(item: ImageItem, index: int) -> str:
    """Return what an image of a list is called: its file, or its place.

    Of a file name that is no UTF-8 the other bytes are shown as escapes, so that it can be written anywhere.
    """
    if isinstance(item, (str, FilePath)):
        return str(item).encode("utf-8", "backslashreplace").decode()
    return f"image[{index}]"


def evaluate_path(
    networks: NetworkCache, path: Path, data: TaskData, split: str, observer: Observer
) -> EvaluationSummary:
    """Measure the accuracy of a live path on a split; see ``System.evaluate``."""
    names: tuple[SplitName, ...] = get_args(SplitName)
    name = next((known for known in names if known == split), None)
    if name is None:
        raise UnknownNameError("split", split, names)
    chosen = {"train": data.train, "validation": data.validation, "test": data.test}[name]
    evaluation = evaluate(
        networks.chain(path),
        chosen,
        Pipeline.from_hparams(path.hparams),
        networks.compute(path),
        name=name,
        on_batch=lambda done, total: observer(Preparing(f"evaluating the {name} split", done, total)),
    )
    correct = (evaluation.logits.argmax(dim=1) == evaluation.labels).numpy()
    labels = evaluation.labels.numpy()
    per_class = {
        label: float(correct[labels == index].mean())
        for index, label in enumerate(data.classes)
        if (labels == index).any()
    }
    recorded = {"validation": path.quality, "test": path.metrics.test if path.metrics else None}.get(name)
    return EvaluationSummary(data.name, path.id, name, len(labels), evaluation.accuracy, recorded, per_class)
