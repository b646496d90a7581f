"""What another arithmetic than the one that a path was trained with changes about its answers."""

from __future__ import annotations

from dataclasses import dataclass

from mu2net.core.path import Path
from mu2net.errors import Mu2NetError
from mu2net.nn.backbone import Backbone
from mu2net.nn.int8 import to_int8
from mu2net.nn.precision import choose_device
from mu2net.search.events import Observer, Preparing
from mu2net.search.images import load_recorded_task
from mu2net.search.publication import load_chain
from mu2net.store.store import Store
from mu2net.system.classifier import ServingPrecision, serving_compute
from mu2net.train.augment import Pipeline
from mu2net.train.evaluate import evaluate

MOST_IMAGES = 2000
"""Validation images that are measured at most."""

MOST_LOSS = 0.005
"""How much validation accuracy a path may lose in another arithmetic."""


@dataclass(frozen=True)
class Change:
    """What another arithmetic changes about a path.

    Args:
        task: The task.
        precision: The arithmetic.
        images: Validation images that were measured; 0 where they cannot be read.
        before: Accuracy on them in the arithmetic that the path was trained with.
        after: Accuracy on them in the other one.
        changed: How many of them got another label.
        problem: Why nothing was measured; empty where something was.
    """

    task: str
    precision: ServingPrecision
    images: int
    before: float
    after: float
    changed: int
    problem: str = ""

    @property
    def is_small(self) -> bool:
        """Whether it was measured, and the path loses no more accuracy than it may."""
        return not self.problem and self.before - self.after <= MOST_LOSS + 1e-9


def measure_change(
    store: Store, backbone: Backbone, path: Path, precision: ServingPrecision, observer: Observer
) -> Change:
    """Measure what another arithmetic changes about a path, on the validation images of its task.

    Args:
        store: The system.
        backbone: What its slots compute.
        path: A path of a task.
        precision: The other arithmetic.
        observer: Told about progress.

    Returns:
        What was measured; where the images or the parameters cannot be read any more, why.
    """
    task, device = path.task or "", choose_device()

    def tell(what: str, done: int, total: int) -> None:
        observer(Preparing(f"{what} of {task}", done, total))

    try:
        data = load_recorded_task(store, task, lambda done, total: tell("decoding the images", done, total))
    except Mu2NetError as error:
        return Change(task, precision, 0, 0.0, 0.0, 0, str(error))
    pipeline = Pipeline.from_hparams(path.hparams)
    found = []
    try:
        chain = load_chain(store, backbone, path, device)
        for arithmetic in (None, precision):
            if arithmetic == "int8":
                to_int8(chain)
            compute = serving_compute(backbone, path, device, arithmetic)
            found.append(
                evaluate(
                    chain,
                    data.validation,
                    pipeline,
                    compute,
                    max_examples=MOST_IMAGES,
                    on_batch=lambda done, total: tell("measuring the validation images", done, total),
                )
            )
    except Mu2NetError as error:  # a damaged component, or an image that went bad: no other task must suffer from it
        return Change(task, precision, 0, 0.0, 0.0, 0, str(error))
    before, after = found
    changed = int((before.logits.argmax(dim=1) != after.logits.argmax(dim=1)).sum())
    return Change(task, precision, len(before.labels), before.accuracy, after.accuracy, changed)
