"""A tiny system of two public tasks and a private one, and a root of each kind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mu2net.system import System
from tests.serve.conftest import served_template
from tests.system.conftest import evolved_template, one_thread, small, template, train_here

__all__ = ["evolved_template", "one_thread", "served_template", "small", "template", "train_here"]


@pytest.fixture
def system(served_template, tmp_path) -> Iterator[System]:
    with System.open(shutil.copytree(served_template, tmp_path / "system")) as opened:
        yield opened


@pytest.fixture
def picture(system) -> Path:
    """A test image of task one."""
    return sorted((Path(system.task("one").source) / "test").rglob("*.png"))[0]
