"""What the command line of the benchmarks asks for, and what it makes of settings and cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cases import VIT_FILE, VIT_TINY, Case
from benchmarks.workplace import Setting

BUILT_IN_TASK = "demo:mnist5k"
"""Stands for every task where none are on disk."""

_QUICK_TASK = "demo:digits"
_QUICK_VIT = "vit:dim=48,depth=12,heads=3,patch=8,image=32"
_QUICK_IMAGES = 600
_QUICK_EXAMPLES = 192


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Args:
        tasks: Folder of the tasks on disk; ``None`` for the built-in one.
        vit: File of the pretrained vision transformer; ``None`` where there is none.
        seed: Seed of everything.
        is_quick: Whether this is a smoke run, whose figures mean nothing.
        pairs: Alternating runs of every case; ``None`` for the case's own number.
        intervals: Passes over the training split; ``None`` for the case's own number.
    """

    tasks: Path | None = None
    vit: Path | None = None
    seed: int = 0
    is_quick: bool = False
    pairs: int | None = None
    intervals: int | None = None

    def setting(self, setting: Setting) -> Setting:
        """Return a setting with the roots and tasks that are there, and small for a smoke run."""
        if setting.root == VIT_FILE:
            setting = replace(setting, root=f"file:{self.vit}")
        if self.tasks is None:
            setting = replace(setting, task=_QUICK_TASK if self.is_quick else BUILT_IN_TASK)
        if not self.is_quick:
            return setting
        root = _QUICK_VIT if setting.root == VIT_TINY else setting.root
        return replace(setting, root=root, num_images=_QUICK_IMAGES)

    def case(self, case: Case) -> Case:
        """Return a case with its setting, and short for a smoke run."""
        pairs, intervals = self.pairs or case.pairs, self.intervals or case.intervals
        case = replace(case, setting=self.setting(case.setting), pairs=pairs, intervals=intervals)
        return replace(case, pairs=1, intervals=2, plain_steps=2, examples=_QUICK_EXAMPLES) if self.is_quick else case

    def missing(self, name: str) -> str | None:
        """Return which option an id needs that was not given; ``None`` where nothing is missing."""
        needs_vit = name == "accuracy" or name.startswith("vit_s_")
        if needs_vit and self.vit is None:
            return "--vit"
        return "--tasks" if name.endswith("accuracy") and self.tasks is None else None
