"""A tiny system with two tasks of pictures, whose children train in this process unless a test says otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mu2net.search.executor import LocalExecutor
from mu2net.search.images import open_activations
from mu2net.store.store import Store
from mu2net.system import System, evolution

ROOT = "vit:dim=16,depth=2,heads=2,patch=4,image=8"
SMALL: dict[str, Any] = {
    "precision": "float32",  # also on processors with bfloat16, where it is not the default
    "generation_size": 2,
    "batch_size": 16,
    "num_validations": 2,
    "examples_per_validation": 48,
    "hparams": {"opt_lr": 0.1},
    "attention": "sdpa",
    "threads": 1,
}


class Here:
    """Stands in for worker processes: children train in this process."""

    def __init__(self, store: Store, task: str, workers: int, cache_limit: int | None) -> None:
        self._executor = LocalExecutor(store, open_activations(store, cache_limit))

    def __enter__(self) -> LocalExecutor:
        return self._executor

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def train_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolution, "ProcessExecutor", Here)


@pytest.fixture
def small() -> dict[str, Any]:
    """Options of a cycle that takes a fraction of a second."""
    return dict(SMALL)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, pictures: Callable[..., Path]) -> Path:
    """The folder of a system with the tasks ``one`` and ``two``, none of them evolved."""
    place = tmp_path_factory.mktemp("system")
    with System.create(place / "system", root=ROOT, seed=5) as system:
        for seed, name in enumerate(("one", "two")):
            system.add_task(name, pictures(place / name, seed=seed))
    return place / "system"


@pytest.fixture(scope="session")
def evolved_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, both tasks evolved; the second one shares components that the first one trained."""
    directory = shutil.copytree(template, tmp_path_factory.mktemp("evolved") / "system")
    with pytest.MonkeyPatch.context() as patch, System.open(directory) as system:
        patch.setattr(evolution, "ProcessExecutor", Here)
        system.evolve("one", agent="finetune", children=1, **SMALL)
        for seed in range(20):
            system.evolve("two", children=4, seed=seed, **SMALL)
            if "one" in (system.task("two").reused_from or {}):
                break
    return directory


@pytest.fixture
def system(template: Path, tmp_path: Path) -> Iterator[System]:
    """A fresh copy without any path."""
    with System.open(shutil.copytree(template, tmp_path / "system")) as opened:
        yield opened


@pytest.fixture
def evolved(evolved_template: Path, tmp_path: Path) -> Iterator[System]:
    """A fresh copy with two live paths."""
    with System.open(shutil.copytree(evolved_template, tmp_path / "system")) as opened:
        yield opened


@pytest.fixture
def copy_of(template: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes another fresh copy without any path."""
    return lambda name: shutil.copytree(template, tmp_path / name)
