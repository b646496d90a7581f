"""What the ledger keeps: results of tasks, checks of whole systems, and failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.evidence.keys import Key
from mu2net.core.path import Value


@dataclass(frozen=True)
class Result:
    """What an agent made of one task.

    Args:
        key: What was measured.
        test: Top-1 accuracy on the test split, in [0, 1].
        num_test: Test images.
        validation: Top-1 accuracy on the validation split, in [0, 1]; ``None`` where none was measured.
        root_params: Parameters of one copy of the root.
        num_params: Parameters of the task's network; ``None`` where nobody counted them.
        added_params: Parameters that were trained for the task.
        accounted_params: Each component's parameters divided by the tasks that use it, right after this task.
        flops: FLOPs of one prediction, batch 1.
        seconds: Seconds of the budget that were used, from the start until the last child was recorded.
        wall_seconds: Seconds until the path was published, over all runs if it was interrupted.
        add_seconds: Seconds of adding the task (reading and checking its images); ``None`` where it was not timed.
        children: Children that were trained.
        examples: Training examples of all children.
        hparams: Hyperparameters of the published path.
        slots: By slot, which task its component comes from; ``"root"`` is the root.
        sources: By task or ``"root"``, how many parameters of the path come from there.
        foreign_load: Share of the machine that programs outside the benchmark used; ``None`` where it is not known.
        disk_bytes: Size of the system after the task without its cache; ``None`` where there is no system.
        cache_bytes: Size of the cache, which may be deleted at any time.
        jobs: Runs that shared the machine.
        is_resumed: Whether an interrupted cycle was finished.
        is_recovered: Whether the record was made from the system afterwards, because the benchmark was interrupted
            between publication and record.
        machine: Machine, versions and commit.
        date: When it was finished, in UTC.
    """

    key: Key
    test: float
    num_test: int
    validation: float | None
    root_params: int
    num_params: int | None
    added_params: int
    accounted_params: float | None
    flops: int
    seconds: float
    wall_seconds: float
    add_seconds: float | None
    children: int
    examples: int
    hparams: Mapping[str, Value]
    slots: Mapping[str, str]
    sources: Mapping[str, int]
    foreign_load: float | None
    disk_bytes: int | None
    cache_bytes: int | None
    jobs: int
    is_resumed: bool
    is_recovered: bool
    machine: Mapping[str, Any]
    date: str

    @property
    def correct(self) -> int:
        """Test images that were classified correctly."""
        return round(self.test * self.num_test)

    @property
    def code(self) -> str:
        """The state of the code that measured it; of old records the commit."""
        return str(self.machine.get("code") or self.machine.get("commit", "unknown"))

    @property
    def added_share(self) -> float:
        """Parameters that were added, over the root's."""
        return self.added_params / self.root_params

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": "result", **_values(self)}


@dataclass(frozen=True)
class Check:
    """What ``verify`` found after the last task of a system.

    Args:
        key: The system; its task is empty.
        num_components: Files that were hashed again.
        num_logits: Probe logits that were compared.
        changed_logits: Those of paths whose probe is not what was recorded: all of such a path's logits count.
        unconfirmed: Tasks whose probe could not be computed.
        damages: One sentence per damaged file.
        max_difference: Largest absolute difference of a logit; ``None`` where one is not finite.
        seconds: Seconds that it took.
        machine: Machine, versions and commit.
        date: When, in UTC.
    """

    key: Key
    num_components: int
    num_logits: int
    changed_logits: int
    unconfirmed: tuple[str, ...]
    damages: tuple[str, ...]
    max_difference: float | None
    seconds: float
    machine: Mapping[str, Any]
    date: str

    @property
    def is_conclusive(self) -> bool:
        """Whether every task's probe was compared and every file is whole."""
        return not self.unconfirmed and not self.damages

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": "check", **_values(self)}


@dataclass(frozen=True)
class Failure:
    """A run that ended with an error.

    Args:
        key: What was being measured.
        error: The error's text.
        date: When, in UTC.
    """

    key: Key
    error: str
    date: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"kind": "failure", **_values(self)}


Record = Result | Check | Failure
_KINDS: dict[str, type[Record]] = {"result": Result, "check": Check, "failure": Failure}


def record_from_json(values: Mapping[str, Any]) -> Record:
    """Return a record from the JSON values of its ``to_json``.

    Raises:
        KeyError: A field is missing.
        ValueError: There is no such kind of record.
    """
    kind = _KINDS.get(values["kind"])
    if kind is None:
        raise ValueError(f"a record of kind {values['kind']!r}; expected one of: {', '.join(_KINDS)}")
    found = {field.name: values[field.name] for field in fields(kind)}
    tuples = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return kind(**{**found, **tuples, "key": Key.from_json(found["key"])})


def _values(record: Record) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {**values, "key": record.key.to_json()}
