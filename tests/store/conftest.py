from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from mu2net.core.component import Slot
from mu2net.core.path import Metrics, Mutation
from mu2net.core.path import Path as CorePath
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.store.config import SystemConfig
from mu2net.store.files import Files
from mu2net.store.records import NewComponent, TaskRecord, TrainedRecord
from mu2net.store.store import Store

STEM, BLOCK, NORM, HEAD = (
    Slot("stem", "stem"),
    Slot("block_00", "block"),
    Slot("norm", "norm"),
    Slot("head", "head"),
)
HPARAMS = {"opt_lr": 0.01, "num_layers": 1, "opt_nesterov": False, "opt_lr_schedule": "cosine", "mu": 1.0}


def tensors(seed: int, *shape: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(shape or (3, 4), generator=generator), "bias": torch.full((3,), float(seed))}


def task(name: str = "digits", *, is_private: bool = False) -> TaskRecord:
    return TaskRecord(
        name=name,
        source={"uri": f"demo:{name}", "columns": ["image", "label"]},
        classes=("zero", "eins", "二"),
        fingerprint=sha256(name.encode()).hexdigest(),
        is_private=is_private,
        counts={"train": 80, "validation": 10, "test": 10},
    )


def trained(
    parent: CorePath, seed: int, generation: int = 0, child: int = 0, *, is_kept: bool = True, quality: float = 0.5
) -> TrainedRecord:
    """A child that shares its parent's stem and block, clones the norm, and has a new head."""
    stem, block, norm = parent.components[:3]
    return TrainedRecord(
        generation=generation,
        child=child,
        proposal=Proposal(
            parent_id=parent.id,
            origin="root" if parent.task is None else "own",
            slots=(
                SlotPlan(STEM, "share", stem.digest),
                SlotPlan(BLOCK, "share", block.digest),
                SlotPlan(NORM, "clone", norm.digest),
                SlotPlan(HEAD, "fresh", None),
            ),
            hparams={**HPARAMS, "opt_lr": 1e-4},
            mutations=(Mutation("hp:opt_lr", 0.01, 1e-4), Mutation("clone:norm", is_forced=True)),
            rates={"hp:opt_lr": 0.1 + 0.2},
            inherits_momentum=True,
        ),
        components=(
            NewComponent(NORM, tensors(seed), 15, norm.digest, momentum=tensors(seed + 1000)),
            NewComponent(HEAD, tensors(seed + 500), 15),
        ),
        metrics=Metrics(
            quality=quality,
            flops=123_456_789_012,
            validations=(0.1, 1 / 3, quality),
            examples=800,
            seconds=1.25,
            extra={"precision": "bfloat16", "planned": 3, "loss": [0.5, 1e-300]},
        ),
        is_kept=is_kept,
        spent_seconds=1.5,
    )


CONFIG = SystemConfig(root="tiny", root_source="made for a test", backbone={"kind": "tiny", "dim": 4}, seed=7)


def create(directory: Path, files: Files | None = None, config: SystemConfig = CONFIG) -> Store:
    store = Store.create(directory, config, files)
    store.put_root([NewComponent(slot, tensors(i), 15) for i, slot in enumerate((STEM, BLOCK, NORM))], HPARAMS)
    return store


@pytest.fixture
def make_store() -> Callable[..., Store]:
    return create


@pytest.fixture
def make_child() -> Callable[..., TrainedRecord]:
    return trained


@pytest.fixture
def make_task() -> Callable[..., TaskRecord]:
    return task


@pytest.fixture
def make_tensors() -> Callable[..., dict[str, torch.Tensor]]:
    return tensors


def teach(store: Store, name: str, parent: CorePath, seed: int, **options: object) -> CorePath:
    """Add a task where it is missing, and publish a child of a parent for it."""
    if name not in {known.name for known in store.tasks()}:
        store.add_task(replace(task(name), **options))
    cycle = store.start_cycle(name, "mu2net", seed, {"live": [path.id for path in store.live_paths()]})
    child = store.record_child(cycle, trained(parent, seed))
    probe = {"logits": torch.full((2, 3), float(seed))}
    return store.publish(cycle, child.id, Metrics(0.9, 1, test=0.8), probe, {})


@pytest.fixture
def learn() -> Callable[..., CorePath]:
    return teach


def make_chain(store: Store) -> Store:
    """Teach a system without paths the tasks of ``chain``."""
    a = teach(store, "a", store.root(), 11)
    b = teach(store, "b", a, 12)
    teach(store, "c", b, 13)
    teach(store, "d", store.root(), 14)
    return store


def make_grown(store: Store) -> Store:
    """Teach a system with the task ``digits`` what ``grown`` has learned."""
    first = teach(store, "digits", store.root(), 11)
    cycle = store.start_cycle("digits", "mu2net", 2, {})
    store.record_child(cycle, trained(first, 12))
    store.record_child(cycle, trained(first, 13, child=1))
    store.publish(cycle, "digits/1/0/0", Metrics(0.9, 1), {"logits": torch.ones(2)}, {})
    return store


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the systems below, each made once; tests get copies."""
    folder = tmp_path_factory.mktemp("systems")
    create(folder / "store").add_task(task())
    for name, make in (("chain", make_chain), ("grown", make_grown)):
        make(Store.open(shutil.copytree(folder / "store", folder / name)))
    return folder


@pytest.fixture
def store(templates: Path, tmp_path: Path) -> Store:
    """A system with a root and the public task ``digits``."""
    return Store.open(shutil.copytree(templates / "store", tmp_path / "system"))


@pytest.fixture
def chain(templates: Path, tmp_path: Path) -> Store:
    """A system whose task ``b`` is cloned from ``a``, and ``c`` from ``b``; ``d`` starts at the root."""
    return Store.open(shutil.copytree(templates / "chain", tmp_path / "system"))


@pytest.fixture
def grown(templates: Path, tmp_path: Path) -> Store:
    """A system whose task ``digits`` was published twice, and has a child that never was."""
    return Store.open(shutil.copytree(templates / "grown", tmp_path / "system"))
