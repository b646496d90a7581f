"""Runs: which agent learns which tasks in which order, in a process of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.evidence.agents import LORA, in_turn, is_baseline, kind_of
from benchmarks.evidence.keys import Condition, Experiment, Key
from benchmarks.evidence.roots import Root
from benchmarks.evidence.tasks import PART, ordered

SCALES = (1.0, 0.98, 0.95, 0.9, 0.7, 0.3)
"""Size penalties of muNet's experiment; 1 is none, and is the run of the table."""


@dataclass(frozen=True)
class Run:
    """What one process does: an agent learns tasks one after another.

    Args:
        experiment: What it is for.
        root: Where networks start.
        agent: Name of the agent.
        seed: Seed of the system.
        tasks: The tasks in their order.
        condition: What is equal for all agents.
        s_size: Factor on the score per root's worth of parameters.
    """

    experiment: Experiment
    root: Root
    agent: str
    seed: int
    tasks: tuple[str, ...]
    condition: Condition
    s_size: float = 1.0

    @property
    def is_independent(self) -> bool:
        """Whether no task knows of another, so that each may be repeated by itself."""
        return self.experiment == "alone" or is_baseline(self.agent)

    @property
    def is_checked(self) -> bool:
        """Whether the system is verified after its last task."""
        return not self.is_independent

    @property
    def has_system(self) -> bool:
        """Whether mu2net runs it."""
        return kind_of(self.agent) != LORA

    @property
    def folder(self) -> str:
        """Name of the folder of its systems."""
        text = json.dumps(self.key().to_json(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{self.experiment}-{self.root.name}-{self.agent.replace(':', '-')}-{self.seed}-{digest}"

    def key(self, task: str = "") -> Key:
        """Return what identifies the measurement of a task, or of the whole system."""
        return Key(
            experiment=self.experiment,
            root=self.root.name,
            spec=self.root.label,
            image_size=self.root.image_size,
            agent=self.agent,
            seed=self.seed,
            s_size=self.s_size,
            order=() if self.is_independent else self.tasks,
            condition=self.condition,
            task=task,
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "experiment": self.experiment,
            "root": self.root.to_json(),
            "agent": self.agent,
            "seed": self.seed,
            "tasks": list(self.tasks),
            "condition": self.condition.to_json(),
            "s_size": self.s_size,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Run:
        """Return the run from the JSON values of ``to_json``."""
        changed = {
            "root": Root(**values["root"]),
            "tasks": tuple(values["tasks"]),
            "condition": Condition.from_json(values["condition"]),
        }
        return cls(**{**values, **changed})


@dataclass(frozen=True)
class Plan:
    """A run with all that its process needs.

    Args:
        run: The run.
        folder: Where its systems live.
        sources: Folder of every task.
        known: Tasks that the ledger has.
        is_check_known: Whether the ledger has the check of the system.
        jobs: Runs that share the machine.
        parent: Process that the run must not outlive; ``None`` for no such.
    """

    run: Run
    folder: Path
    sources: Mapping[str, Path]
    known: tuple[str, ...] = ()
    is_check_known: bool = False
    jobs: int = 1
    parent: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        is_checked = self.is_check_known or not self.run.is_checked
        return is_checked and set(self.run.tasks) <= set(self.known)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "run": self.run.to_json(),
            "folder": str(self.folder),
            "sources": {name: str(path) for name, path in self.sources.items()},
            "known": list(self.known),
            "is_check_known": self.is_check_known,
            "jobs": self.jobs,
            "parent": self.parent,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan from the JSON values of ``to_json``."""
        changed = {
            "run": Run.from_json(values["run"]),
            "folder": Path(values["folder"]),
            "sources": {name: Path(path) for name, path in values["sources"].items()},
            "known": tuple(values["known"]),
        }
        return cls(**{**values, **changed})


def make_runs(
    experiments: Sequence[Experiment],
    agents: Mapping[Root, Sequence[str]],
    seeds: Sequence[int],
    tasks: Sequence[str],
    condition: Condition,
) -> list[Run]:
    """Return all runs, each once, in the order of starting: agents alternate, so that different ones run side by side.

    Args:
        experiments: What to do.
        agents: By root, the agents that fit it.
        seeds: Each gives another order of tasks.
        tasks: Names of the tasks.
        condition: What is equal for all agents.
    """
    found: dict[Run, None] = {}
    for experiment in experiments:
        for seed in seeds:
            order = ordered(tasks, seed)
            for root, names in agents.items():
                base = Run("table", root, "", seed, order, condition)
                for agent in in_turn(names):
                    found.update(dict.fromkeys(_runs(experiment, replace(base, agent=agent))))
    return list(found)


def _runs(experiment: Experiment, run: Run) -> Iterator[Run]:
    """Return the runs of one agent, given its run in the table."""
    if experiment == "table":
        yield run
    elif is_baseline(run.agent):
        return
    elif experiment == "scale":
        for scale in SCALES:
            yield run if scale == 1 else replace(run, experiment="scale", s_size=scale)
    elif experiment == "growth":
        yield replace(run, experiment="growth", tasks=(*run.tasks, *(name + PART for name in run.tasks)))
    else:
        yield replace(run, experiment=experiment)
