"""Generated pictures and small sources in every container."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def make_picture(seed: int, size: tuple[int, int] = (12, 10)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_class_folders(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    seed = first_seed
    for name in sorted(counts):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(counts[name]):
            make_picture(seed).save(root / name / f"{number:03d}.png")
            seed += 1
    return root


def write_table(
    path: Path, labels: Sequence[Any], *, names: Sequence[str] | None = None, first_seed: int = 0, **columns: Any
) -> Path:
    """Write a Parquet file of PNG images; ``names`` declares classes in the Hugging Face metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encode(make_picture(first_seed + row)), "path": None} for row in range(len(labels))]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels), **columns})
    if names is not None:
        features: dict[str, Any] = {
            "image": {"_type": "Image"},
            "label": {"_type": "ClassLabel", "names": list(names)},
            **{name: {"_type": "Value", "dtype": "string"} for name in columns},
        }
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    return make_picture


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def class_folders() -> Callable[..., Path]:
    return write_class_folders


@pytest.fixture(scope="session")
def table_file() -> Callable[..., Path]:
    return write_table
