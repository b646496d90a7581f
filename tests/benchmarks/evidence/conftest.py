"""Tiny tasks on disk, and results that nobody measured."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.evidence.keys import Key
from benchmarks.evidence.options import parse
from benchmarks.evidence.records import Check, Result
from benchmarks.evidence.roots import Root

CONDITION = parse(["--time", "60"]).condition
ROOT = Root("tiny", "vit:dim=16,depth=2,heads=2,patch=8,image=16")


@pytest.fixture
def root():
    return ROOT


def _png(rng, label):
    color = np.full(3, 90)
    color[label] = 170
    stream = io.BytesIO()
    Image.fromarray(np.clip(rng.normal(color, 60, (16, 16, 3)), 0, 255).astype(np.uint8)).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": None}


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """A folder of two tasks: colored noise in three classes, 60 training and 30 test images."""
    folder = tmp_path_factory.mktemp("tasks")
    for seed, name in enumerate(("noise", "snow")):
        rng = np.random.default_rng(seed)
        (folder / name).mkdir()
        for split, count in (("train", 60), ("test", 30)):
            labels = [number % 3 for number in range(count)]
            rows = pa.table({"image": [_png(rng, label) for label in labels], "label": labels})
            pq.write_table(rows, folder / name / f"{split}-00000-of-00001.parquet")
    (folder / "no-task").mkdir()
    return folder


KEY = {
    "experiment": "table",
    "spec": "vit",
    "image_size": None,
    "seed": 0,
    "s_size": 1.0,
    "condition": CONDITION,
}
VALUES = {
    "num_test": 1000,
    "validation": 0.9,
    "root_params": 1_000_000,
    "num_params": 1_000_000,
    "added_params": 200_000,
    "accounted_params": 500_000.0,
    "flops": 10_000_000,
    "seconds": 58.0,
    "wall_seconds": 61.0,
    "add_seconds": 2.0,
    "children": 8,
    "examples": 50_000,
    "hparams": {"opt_lr": 0.01, "opt_nesterov": False},
    "slots": {"norm": "root"},
    "sources": {"root": 1_000_000},
    "foreign_load": 0.01,
    "disk_bytes": 90_000_000,
    "cache_bytes": 1_000,
    "jobs": 2,
    "is_resumed": False,
    "is_recovered": False,
    "machine": {"processor": "abacus", "commit": "abc"},
    "date": "2026-11-23T00:00:00+00:00",
}


@pytest.fixture
def make_result():
    """Makes a result that is right about what a test names, and plausible about the rest."""

    def make(agent="mu2net", task="a", test=0.8, *, order=(), root="tiny", **changes):
        of_key = {**KEY, **{name: changes.pop(name) for name in KEY if name in changes}}
        key = Key(agent=agent, task=task, order=tuple(order), root=root, **of_key)
        return Result(key=key, test=test, **{**VALUES, **changes})

    return make


@pytest.fixture
def make_check():
    """Makes the check of the system that a result belongs to."""

    def make(result, *, num_logits=100, changed_logits=0, unconfirmed=(), damages=()):
        key = Key.from_json({**result.key.to_json(), "task": ""})
        machine = {"processor": "abacus"}
        return Check(key, 40, num_logits, changed_logits, unconfirmed, damages, 0.0, 1.5, machine, "2026-11-23")

    return make
