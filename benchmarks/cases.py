"""What is measured: roots, tasks, which slots train, how long, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.workplace import Setting

Kind = Literal["runs", "generation"]
"""``runs``: as many equal runs as there are workers, each with its own seed. ``generation``: 8 children of mu2Net."""

VIT_TINY = "vit:dim=192,depth=12,heads=3,patch=4,image=32"
LITE0 = "efficientnet-lite0"
VIT_FILE = "file"
"""Stands for the root in the file that is given on the command line."""

GENERATION = 8
"""Children of a generation."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Args:
        id: Name of its figure.
        title: What it is, for people.
        setting: Root and task.
        agent: Who proposes the children.
        target: The ratio that is aimed at; ``None`` where there is none.
        intervals: Passes over the training split, each followed by a validation.
        pairs: Alternating runs of both sides.
        plain_steps: Steps of the plain loop that are timed in each run; of every child in a generation.
        kind: What children there are.
        augments: Whether training images are augmented.
        examples: Training examples of an interval at most; ``None`` for one pass.
    """

    id: str
    title: str
    setting: Setting
    agent: str
    target: float | None = None
    intervals: int = 5
    pairs: int = 5
    plain_steps: int = 24
    kind: Kind = "runs"
    augments: bool = False
    examples: int | None = None


def _vit_tiny() -> list[Case]:
    setting, short = Setting(VIT_TINY, "cifar10", 2048), Setting(VIT_TINY, "cifar10", 1024)
    name = "ViT-Tiny 32/4"
    return [
        Case("head", f"{name}, head and norm", setting, "linear", 500.0, intervals=150),
        Case("last_1", f"{name}, last block", setting, "freeze:11", 30.0, intervals=8),
        Case("last_2", f"{name}, last 2 blocks", setting, "freeze:10", 10.0),
        Case("last_4", f"{name}, last 4 blocks", setting, "freeze:8", 6.0),
        Case("all", f"{name}, everything", short, "finetune", 3.0, intervals=3),
        Case(
            "generation",
            f"{name}, generation of 8",
            setting,
            "mu2net",
            5.0,
            intervals=4,
            pairs=3,
            plain_steps=12,
            kind="generation",
        ),
        Case(
            "generation_augmented",
            f"{name}, generation of 8, augmented",
            setting,
            "mu2net",
            4.0,
            intervals=4,
            pairs=3,
            plain_steps=12,
            kind="generation",
            augments=True,
        ),
    ]


def _vit_file() -> list[Case]:
    setting = Setting(VIT_FILE, "rsscn7", 1024)
    name = "ViT-S/14 at 98 px"
    return [
        Case("vit_s_head", f"{name}, head and norm", setting, "linear", intervals=60, pairs=3, plain_steps=8),
        Case("vit_s_last_1", f"{name}, last block", setting, "freeze:11", intervals=5, pairs=3, plain_steps=8),
        Case("vit_s_last_2", f"{name}, last 2 blocks", setting, "freeze:10", intervals=5, pairs=3, plain_steps=8),
        Case("vit_s_last_4", f"{name}, last 4 blocks", setting, "freeze:8", intervals=4, pairs=3, plain_steps=8),
        Case("vit_s_all", f"{name}, everything", setting, "finetune", intervals=2, pairs=3, plain_steps=8),
        Case(
            "vit_s_generation",
            f"{name}, generation of 8",
            setting,
            "mu2net",
            intervals=3,
            pairs=3,
            plain_steps=4,
            kind="generation",
        ),
    ]


def _lite0(side: int) -> list[Case]:
    setting = Setting(LITE0, "rsscn7", 2048, side)
    prefix, name = "lite0" if side == 96 else f"lite0_{side}", f"EfficientNet-Lite0 at {side} px"
    return [
        Case(f"{prefix}_head", f"{name}, head", setting, "linear", intervals=60),
        Case(
            f"{prefix}_last_3", f"{name}, last 3 stages", setting, "freeze:8", 8.0 if side == 96 else None, intervals=5
        ),
        Case(f"{prefix}_all", f"{name}, everything", setting, "finetune", intervals=3),
        Case(
            f"{prefix}_generation",
            f"{name}, generation of 8",
            setting,
            "mu2net",
            intervals=3,
            pairs=3,
            plain_steps=12,
            kind="generation",
        ),
    ]


CASES: tuple[Case, ...] = (*_vit_tiny(), *_vit_file(), *_lite0(96), *_lite0(64))
"""All training cases. ``memory``, ``serve_*`` and ``*accuracy`` have modules of their own."""


@dataclass(frozen=True)
class AccuracyCase:
    """Runs whose test accuracy is compared between both sides.

    Args:
        id: Name of its figure.
        title: What trains, for people.
        settings: Root and tasks; figures are means over them.
        agent: Who proposes the runs.
        seeds: Runs per task.
        intervals: Passes over the training split, each followed by a validation.
    """

    id: str
    title: str
    settings: tuple[Setting, ...]
    agent: str
    seeds: int = 5
    intervals: int = 3


_ACCURACY_TASKS = ("rsscn7", "pacs_sketch")

ACCURACY_CASES = (
    AccuracyCase(
        "accuracy",
        "ViT-S/14 at 98 px, last 2 blocks",
        tuple(Setting(VIT_FILE, task, 1500) for task in _ACCURACY_TASKS),
        "freeze:10",
    ),
    AccuracyCase(
        "lite0_accuracy",
        "EfficientNet-Lite0 at 96 px, last 3 stages",
        tuple(Setting(LITE0, task, 1500, 96) for task in _ACCURACY_TASKS),
        "freeze:8",
        seeds=10,
    ),
)
"""What accuracy is compared for."""
