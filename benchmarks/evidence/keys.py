"""What identifies a measurement: two measurements with equal keys are the same one, taken twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mu2net.core.path import Value

Experiment = Literal["table", "alone", "scale", "growth"]
"""``table``: tasks one after another. ``alone``: each in a system of its own. ``scale``: tasks one after another with a
size penalty. ``growth``: tasks one after another, then all again with a part of their images."""

EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)


@dataclass(frozen=True)
class Condition:
    """What is equal for all agents that are compared.

    Args:
        seconds: Wall-clock seconds per task; ``None`` where examples are given.
        examples: Training examples per task; ``None`` where seconds are given.
        hparams: Starting values of hyperparameters, as sorted pairs.
        fixed: Hyperparameters that keep their starting values, sorted.
    """

    seconds: float | None = None
    examples: int | None = None
    hparams: tuple[tuple[str, Value], ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What it is, for people."""
        budget = f"{self.seconds:g} s" if self.seconds is not None else f"{self.examples:,} training examples"
        settings = [f"{name}={value}" for name, value in self.hparams]
        return ", ".join([f"{budget} per task", *settings, *(f"{name} fixed" for name in self.fixed)])

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "seconds": self.seconds,
            "examples": self.examples,
            "hparams": dict(self.hparams),
            "fixed": list(self.fixed),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Condition:
        """Return the condition from the JSON values of ``to_json``."""
        hparams = tuple(sorted(values["hparams"].items()))
        return cls(values["seconds"], values["examples"], hparams, tuple(sorted(values["fixed"])))


@dataclass(frozen=True)
class Key:
    """What identifies a measurement.

    Args:
        experiment: One of ``EXPERIMENTS``.
        root: Short name of the root.
        spec: What the root is, without a file's folder.
        image_size: Side of the input, in pixels; ``None`` for the root's own.
        agent: Name of the agent.
        seed: Seed of the system, and of the order of its tasks.
        s_size: Factor on the score per root's worth of parameters.
        order: The tasks of the system in their order; empty where tasks know nothing of each other.
        condition: What is equal for all agents.
        task: The task; empty where the measurement is of a whole system.
    """

    experiment: Experiment
    root: str
    spec: str
    image_size: int | None
    agent: str
    seed: int
    s_size: float
    order: tuple[str, ...]
    condition: Condition
    task: str = ""

    @property
    def position(self) -> int:
        """How many tasks the system learned before this one."""
        return self.order.index(self.task) if self.order else 0

    @property
    def title(self) -> str:
        """What was measured, for people."""
        scale = f" s_size {self.s_size:g}" if self.s_size != 1 else ""
        what = f": {self.task}" if self.task else ""
        return f"{self.experiment} {self.root} {self.agent} seed {self.seed}{scale}{what}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "experiment": self.experiment,
            "root": self.root,
            "spec": self.spec,
            "image_size": self.image_size,
            "agent": self.agent,
            "seed": self.seed,
            "s_size": self.s_size,
            "order": list(self.order),
            **self.condition.to_json(),
            "task": self.task,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Key:
        """Return the key from the JSON values of ``to_json``."""
        own = ("experiment", "root", "spec", "image_size", "agent", "seed", "s_size", "task")
        return cls(
            **{name: values[name] for name in own},
            order=tuple(values["order"]),
            condition=Condition.from_json(values),
        )
