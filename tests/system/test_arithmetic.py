from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mu2net.search.events import Preparing
from mu2net.system.arithmetic import Change


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_what_an_arithmetic_changes_is_measured_on_the_validation_images(evolved, precision):
    told = []
    path = evolved._live("two")
    change = evolved.precision_change(path, precision, observer=told.append)
    assert (change.task, change.precision, change.images, change.problem) == ("two", precision, 24, "")
    assert change.before == evolved.evaluate("two", split="validation").accuracy
    assert abs(change.after - change.before) * change.images <= change.changed
    assert change.changed < change.images
    assert {event.what for event in told if isinstance(event, Preparing)} >= {"measuring the validation images of two"}
    same = evolved.precision_change(path, "float32")
    assert (same.before, same.changed) == (same.after, 0)
    assert same.is_small


def test_nothing_is_measured_where_the_images_are_gone(evolved):
    path = evolved._live("one")
    shutil.rmtree(evolved.directory / "cache")
    source = Path(evolved.task("one").source)
    moved = source.rename(source.with_name("elsewhere"))
    evolved.close()
    try:
        change = evolved.precision_change(path, "int8")
    finally:
        moved.rename(source)
    assert change.images == 0
    assert str(source) in change.problem
    assert not change.is_small


def test_nothing_is_measured_where_parameters_are_damaged(evolved):
    """The task is served as it was trained, and its requests fail; others do not."""
    path = evolved._live("one")
    digest = path.components[-1].digest
    file = evolved.directory / "components" / "sha256" / digest[:2] / f"{digest}.safetensors"
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    change = evolved.precision_change(path, "bfloat16")
    assert digest in change.problem
    assert not change.is_small


def test_half_a_point_is_small():
    def change(before, after):
        return Change("one", "int8", 1000, before, after, 7)

    assert change(0.9, 0.895).is_small
    assert not change(0.9, 0.8949).is_small
    assert change(0.5, 0.9).is_small
