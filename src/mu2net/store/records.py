"""What the store takes and gives, next to the values of ``core``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import torch

from mu2net.core.component import Digest, Slot
from mu2net.core.path import Metrics, Path
from mu2net.core.proposal import Proposal

PathState = Literal["root", "child", "live", "retired"]
"""``child``: recorded, never published. ``live``: serves its task. ``retired``: was live."""

CycleState = Literal["running", "published", "abandoned"]


@dataclass(frozen=True)
class TaskRecord:
    """A task as the registry knows it.

    Args:
        name: Name of the task.
        source: Where its images come from and how they are read, JSON values only.
        classes: Class names; a label is an index into them.
        fingerprint: SHA-256 over the decoded content and the splits.
        is_private: Whether its paths may never seed another task.
        counts: Number of images by split.
        created_at: When it was added, in UTC; set by the store.
        allow_from: The only tasks whose data may shape its paths; ``None`` for all that are not private.
        deny_from: Tasks whose data may not.
        removed_at: When it was removed, in UTC; ``None`` while it is there.
        imported: The system that it was imported from, and its name there; ``None`` where it was added.
    """

    name: str
    source: Mapping[str, Any]
    classes: tuple[str, ...]
    fingerprint: str
    is_private: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    created_at: datetime | None = None
    allow_from: tuple[str, ...] | None = None
    deny_from: tuple[str, ...] = ()
    removed_at: datetime | None = None
    imported: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class CycleRecord:
    """A cycle as the registry knows it.

    Args:
        id: Key in the registry.
        task: The active task.
        number: Counts the task's cycles from 0; part of its children's ids.
        agent: Name of the agent.
        seed: The seed that all draws derive from.
        state: Whether it runs, published a path, or was given up.
        config: Everything else that a resumed cycle must repeat, JSON values only.
        spent_seconds: Budget used by the recorded children, in seconds.
        started_at: When it was started, in UTC.
        ended_at: When it published or was given up, in UTC.
    """

    id: int
    task: str
    number: int
    agent: str
    seed: int
    state: CycleState
    config: Mapping[str, Any]
    spent_seconds: float
    started_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True)
class ComponentRecord:
    """A component's files as the registry knows them.

    Args:
        digest: The component.
        num_bytes: Size of its file, in bytes.
        source_digest: The component that it was cloned from.
        momentum_digest: The file with its momentum.
        created_by: The first path that had it.
    """

    digest: Digest
    num_bytes: int
    source_digest: Digest | None
    momentum_digest: Digest | None
    created_by: str


@dataclass(frozen=True)
class NewComponent:
    """A component that has no digest yet: the store computes it.

    Args:
        slot: The place that it fills.
        tensors: Parameters and buffers by local name.
        num_params: Number of scalar parameters.
        source_digest: The component that it was cloned from; ``None`` for a fresh one and for the root's.
        momentum: The optimiser's momentum by the names of the parameters; ``None`` where there is none.
    """

    slot: Slot
    tensors: Mapping[str, torch.Tensor]
    num_params: int
    source_digest: Digest | None = None
    momentum: Mapping[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class TrainedRecord:
    """A trained child on its way into the store.

    Task, agent and privacy come from the cycle and its task; hyperparameters, parent, mutations and rates from the
    proposal.

    Args:
        generation: Counts the cycle's generations from 0.
        child: Counts the generation's children from 0.
        proposal: What the agent asked for.
        components: One for every slot that the proposal trains, in any order.
        metrics: What was measured.
        is_kept: Whether it stays in the population.
        spent_seconds: What it took from the cycle's budget, in seconds.
    """

    generation: int
    child: int
    proposal: Proposal
    components: tuple[NewComponent, ...]
    metrics: Metrics
    is_kept: bool
    spent_seconds: float = 0.0


@dataclass(frozen=True)
class ChildRecord:
    """A recorded path with what the registry knows beyond it.

    Args:
        path: The path.
        proposal: What the agent asked for; ``None`` for the root.
        is_kept: Whether it stayed in its cycle's population.
        state: What it is now.
        created_at: When it was recorded, in UTC.
    """

    path: Path
    proposal: Proposal | None
    is_kept: bool
    state: PathState
    created_at: datetime


@dataclass(frozen=True)
class EventRecord:
    """Something that happened to the system.

    Args:
        at: When, in UTC.
        kind: What, for instance ``"path_published"``.
        task: The task that it concerns.
        payload: Details, JSON values only.
    """

    at: datetime
    kind: str
    task: str | None
    payload: Mapping[str, Any]


def path_id(task: str, cycle: int, generation: int, child: int) -> str:
    """Return the id of a child: ``TASK/CYCLE/GENERATION/CHILD``.

    Args:
        task: Name of the task.
        cycle: Number of the cycle.
        generation: Number of the generation in the cycle.
        child: Number of the child in the generation.
    """
    return f"{task}/{cycle}/{generation}/{child}"
