"""Classifies images for many tasks at once; what their paths share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mu2net.core.path import Path
from mu2net.data.decode import squeeze
from mu2net.data.task import UInt8Array
from mu2net.errors import ConfigError
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import run_slot
from mu2net.nn.int8 import to_int8
from mu2net.nn.modules import Key, Modules
from mu2net.nn.network import Entry, Network, Part, Route, Rows
from mu2net.nn.precision import Precision, choose_device
from mu2net.search.arithmetic import path_compute, path_precision
from mu2net.store.store import Store
from mu2net.train.augment import Pipeline
from mu2net.train.compute import Compute, thread_count
from mu2net.train.evaluate import predict_logits

LogitArray = NDArray[np.float32]
"""Logits, shape ``[images, classes]``."""

Judge = Callable[[Path], bool]
"""Says whether a path may run in another arithmetic than it was trained with."""

PREDICTION_BATCH = 16
"""Images per batch of the forward pass that settles every answer: a path by itself, filled up to this shape."""

ServingPrecision = Precision | Literal["int8"]
"""``int8``: linear layers in 8-bit integers, the rest in float32."""

MOST_LANES = 4
"""Batches that are computed at a time at most: each has activations and threads of its own."""

TIE: Mapping[ServingPrecision, float] = {"float32": 1e-4, "bfloat16": 2**-5, "int8": 2**-5}
"""Two best logits closer than this (times the largest magnitude, where that is above 1) are a near tie."""


@dataclass(frozen=True)
class LiveTask:
    """A task as it answers.

    Args:
        name: The task.
        classes: Class names.
        is_private: Whether its knowledge stays its own.
        path: Its live path.
        side: Side of the square input, in pixels.
        compute: Device, arithmetic and input format.
        precision: What it computes in.
        route: The path as the network sees it.
    """

    name: str
    classes: tuple[str, ...]
    is_private: bool
    path: Path
    side: int
    compute: Compute
    precision: ServingPrecision
    route: Route


@dataclass(frozen=True)
class Edition:
    """All live paths at one moment.

    Args:
        version: Counts what happened to the system.
        tasks: Every task that has a live path, in the order in which they were added.
        network: Their paths as one network.
    """

    version: int
    tasks: Mapping[str, LiveTask]
    network: Network


@dataclass(frozen=True)
class Classified:
    """Answers of many tasks.

    Args:
        logits: For every task that was asked, those of its images, in their order.
        asked: Slots times images of all paths, each by itself.
        computed: Slots times images that ran, without those that settled near ties.
        settled: How many near ties there were.
    """

    logits: Mapping[str, LogitArray]
    asked: int
    computed: int
    settled: int


class Prepared:
    """An image as the inputs of networks need it: squeezed to some sides, each once.

    Args:
        image: An RGB image of any size.
        sides: Sides that are needed. Where they are named, the image itself is let go of.
        content: What tells it from other images, for instance a digest of its file; ``None`` for an image that is not
            compared with others.
    """

    def __init__(self, image: Image.Image, sides: Iterable[int] = (), content: bytes | None = None) -> None:
        self.content = None if content is None else (content, *sorted(set(sides)))
        self._known = {side: squeeze(image, side) for side in sorted(set(sides))}
        self._image = None if self._known else image

    def squeezed(self, side: int) -> UInt8Array:
        """Return the image, shape ``[side, side, 3]``.

        Raises:
            ValueError: Sides were named, and this is none of them.
        """
        if side not in self._known:
            if self._image is None:
                raise ValueError(f"the image was prepared for the sides {sorted(self._known)}, not for {side}")
            self._known[side] = squeeze(self._image, side)
        return self._known[side]


Squeezable = Image.Image | Prepared
"""What can be classified."""


def content_of(image: Squeezable) -> object:
    """Return what is equal for images that make the same inputs; ``None`` for one that is not compared."""
    return image.content if isinstance(image, Prepared) else None


class Classifier:
    """Classifies images with the live paths of a system.

    Of every path, only logits are computed that are equal up to rounding to those of ``System.predict``; where the two
    best classes are so close that rounding could exchange them, they are those of that forward pass itself. So the
    best class of an image never depends on which other images and tasks are asked for at the same time.

    Any number of threads may use it at once, each with a number of threads per operation of its own
    (``thread_count``). Near ties are always settled with the number that the process had when this was made.

    Args:
        store: The system.
        backbone: What its slots compute.
        precision: Arithmetic of all paths; ``None`` for that which each was trained with.
        memory_limit: Most bytes of parameters that are kept in memory; ``None`` for no limit.
        device: Where to run; the best that there is by default.
        judge: Asked once for every path whether it may run in ``precision``; where not, it runs as it was trained. All
            may by default.

    Raises:
        ConfigError: The network, or the device, cannot compute in ``precision``.
    """

    def __init__(
        self,
        store: Store,
        backbone: Backbone,
        *,
        precision: ServingPrecision | None = None,
        memory_limit: int | None = None,
        device: torch.device | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._store, self._backbone, self._precision, self._judge = store, backbone, precision, judge
        self._device = device or choose_device()
        self._newest, self._live_keys, self._lock = -1, frozenset[Key](), Lock()
        self.threads = torch.get_num_threads()
        self._verdicts: dict[str, bool] = {}
        if precision == "int8":
            require_int8(backbone, self._device)
        variants = {"int8": to_int8}
        self.modules = Modules(backbone, store.components.load, self._device, limit=memory_limit, variants=variants)

    @property
    def store(self) -> Store:
        """The system whose paths answer."""
        return self._store

    @property
    def lanes(self) -> int:
        """How many batches are best computed at a time: one for every processor, at most four; one elsewhere."""
        return min(self.threads, MOST_LANES) if self._device.type == "cpu" else 1

    def edition(self, known: Edition | None = None) -> Edition:
        """Return the live paths of now; ``known`` itself where nothing happened since.

        Args:
            known: The edition of before.
        """
        if known is not None and known.version == self._store.version():
            return known
        version, records, live = self._store.moment()
        paths = {path.task: path for path in live}
        with thread_count(self.threads):  # a new thread may have taken over that of a lane
            tasks = {
                record.name: self._live(record.name, record.classes, paths[record.name], is_private=record.is_private)
                for record in records
                if record.name in paths
            }
        network = Network(
            (task.route for task in tasks.values()), self._module_of, channels_last=self._backbone.is_convolutional
        )
        return Edition(version, tasks, network)

    def _live(self, name: str, classes: tuple[str, ...], path: Path, *, is_private: bool) -> LiveTask:
        side = Pipeline.from_hparams(path.hparams).image_size
        precision = self._precision if self._may_change(path) else None
        compute = serving_compute(self._backbone, path, self._device, precision)
        entry = f"{Pipeline(side).canonical()}|{compute.canonical()}"
        route = Route.of(name, entry, path, self._backbone, "int8" if precision == "int8" else "")
        return LiveTask(name, classes, is_private, path, side, compute, precision or compute.precision, route)

    def _may_change(self, path: Path) -> bool:
        """Return whether a path may run in the arithmetic that was asked for."""
        if self._judge is None or self._precision in (None, path_precision(path)):
            return True
        if path.id not in self._verdicts:
            self._verdicts[path.id] = self._judge(path)
        return self._verdicts[path.id]

    def _module_of(self, part: Part) -> torch.nn.Module:
        return self.modules.get(part.slot, part.digest, part.variant)

    def classify(
        self, edition: Edition, images: Sequence[Squeezable], wanted: Mapping[str, Sequence[int]]
    ) -> Classified:
        """Return the logits of some tasks for some images each.

        Args:
            edition: The paths that answer.
            images: RGB images of any size, or what was prepared of them.
            wanted: Names of tasks, and for each the indices of its images, ascending and each once.

        Raises:
            ComponentError: A component is missing or damaged; names it.
            UnknownNameError: The edition has no such task.
        """
        self._forget(edition)
        try:
            return self._classified(edition, images, wanted)
        finally:
            if edition.version < self._newest:  # what it loaded meanwhile is needed no more
                with self._lock:
                    self.modules.keep(self._live_keys)

    def _classified(
        self, edition: Edition, images: Sequence[Squeezable], wanted: Mapping[str, Sequence[int]]
    ) -> Classified:
        pixels = _Pixels(images)
        rows = {name: pixels.distinct(asked) for name, asked in wanted.items()}
        entries = {
            task.route.entry: Entry(partial(_inputs, pixels, task), task.compute.arithmetic)
            for task in edition.tasks.values()
            if task.name in wanted
        }
        answers = edition.network.run(entries, rows)
        logits, settled, spared = {}, 0, 0
        for name, tensor in answers.logits.items():
            found, task = tensor.cpu().numpy(), edition.tasks[name]
            close = _near_ties(found, TIE[task.precision])
            if len(close):
                found = found.copy()
                found[close] = self._settle(task, pixels, tuple(rows[name][place] for place in close))
                settled += len(close)
            logits[name] = found[pixels.places(wanted[name], rows[name])]
            spared += (len(wanted[name]) - len(rows[name])) * len(task.route.parts)
        return Classified(logits, answers.asked + spared, answers.computed, settled)

    def _forget(self, edition: Edition) -> None:
        """Let go of what no live path needs any more, when a newer edition is asked for the first time."""
        with self._lock:
            if edition.version > self._newest:
                parts = [part for task in edition.tasks.values() for part in task.route.parts]
                self._newest = edition.version
                self._live_keys = frozenset((part.slot, part.digest, part.variant) for part in parts)
                self.modules.keep(self._live_keys)

    def _settle(self, task: LiveTask, pixels: _Pixels, rows: Rows) -> LogitArray:
        def run(images: torch.Tensor) -> torch.Tensor:
            """Compute what a chain of the parts does, without holding all of them, which may be too many."""
            is_convolutional = self._backbone.is_convolutional
            activation = images.contiguous(memory_format=torch.channels_last) if is_convolutional else images
            for part in task.route.parts:
                activation = run_slot(self._module_of(part), activation, part.computed_as)
            return activation

        with thread_count(self.threads):
            logits = predict_logits(run, pixels.squeezed(rows, task.side), task.compute, batch_size=PREDICTION_BATCH)
        found: LogitArray = logits.numpy()
        return found


def serving_compute(
    backbone: Backbone, path: Path, device: torch.device, precision: ServingPrecision | None
) -> Compute:
    """Return how a path runs in an arithmetic; ``None`` for that which it was trained with.

    Args:
        backbone: What its slots compute.
        path: The path.
        device: Where it runs.
        precision: The arithmetic. What ``int8`` leaves is float32.
    """
    recorded = path_compute(backbone, path, device)
    wanted = "float32" if precision == "int8" else precision
    return recorded if wanted in (None, recorded.precision) else Compute.of(backbone, device, wanted)


def require_int8(backbone: Backbone, device: torch.device) -> None:
    """Check that paths can run in ``int8``.

    Raises:
        ConfigError: They cannot: the network consists of convolutions, or the device is no CPU.
    """
    if backbone.is_convolutional:
        raise ConfigError(
            "int8 is for the linear layers of vision transformers, and this root is convolutional; use float32"
        )
    if device.type != "cpu":
        raise ConfigError(f"int8 runs on the CPU, not on {device.type!r}; use bf16 there")


class _Pixels:
    """The images of a batch, squeezed once for every side of an input. The first of equal images stands for them."""

    def __init__(self, images: Sequence[Squeezable]) -> None:
        self._images = [image if isinstance(image, Prepared) else Prepared(image) for image in images]
        firsts: dict[object, int] = {}
        self._first = [firsts.setdefault(content_of(image) or row, row) for row, image in enumerate(self._images)]

    def distinct(self, rows: Sequence[int]) -> Rows:
        """Return the rows of the images that stand for those of some rows, ascending and each once."""
        return tuple(sorted({self._first[row] for row in rows}))

    def places(self, rows: Sequence[int], distinct: Rows) -> list[int]:
        """Return where in ``distinct`` the images stand that stand for those of some rows."""
        found = {row: place for place, row in enumerate(distinct)}
        return [found[self._first[row]] for row in rows]

    def squeezed(self, rows: Rows, side: int) -> UInt8Array:
        """Return some images, shape ``[rows, side, side, 3]``."""
        return np.stack([self._images[row].squeezed(side) for row in rows])


def _inputs(pixels: _Pixels, task: LiveTask, rows: Rows) -> torch.Tensor:
    return task.compute.inputs(torch.from_numpy(pixels.squeezed(rows, task.side)))


def _near_ties(logits: LogitArray, tolerance: float) -> NDArray[np.intp]:
    """Return which rows have a second class as good as the best, up to rounding; and those that are not finite."""
    if logits.shape[1] < 2:
        return np.empty(0, np.intp)
    best = np.partition(logits, -2, axis=1)[:, -2:]
    scale = np.maximum(1.0, np.abs(logits).max(axis=1))
    is_clear = best[:, 1] - best[:, 0] > tolerance * scale  # not so where anything is NaN
    return np.flatnonzero(~is_clear)
