"""Reads a store and answers questions about tasks, paths and history."""

from __future__ import annotations

from collections.abc import Mapping

from mu2net.core.component import Digest
from mu2net.core.path import ROOT_ID, Path
from mu2net.core.score import accounted_parameters, count_sharers
from mu2net.store.records import ChildRecord, TaskRecord
from mu2net.store.store import Store
from mu2net.system.summary import (
    ChildSummary,
    PathSummary,
    SlotSummary,
    TaskSummary,
    added_parameters,
    reuse_by_donor,
)


def summarize_tasks(store: Store) -> list[TaskSummary]:
    """Return one row per task, in the order in which they were added."""
    live = store.live_paths()
    sharers = count_sharers(live)
    paths = {path.task: path for path in live}
    return [summarize_task(store, task, paths.get(task.name), sharers) for task in store.tasks()]


def summarize_task(store: Store, task: TaskRecord, path: Path | None, sharers: Mapping[Digest, int]) -> TaskSummary:
    """Return a row of the leaderboard.

    Args:
        store: The system.
        task: The task.
        path: Its live path; ``None`` where it was never evolved.
        sharers: Number of tasks that use each component.
    """
    measured = path.metrics if path else None
    reused = reuse_by_donor(path) if path else {}
    return TaskSummary(
        name=task.name,
        classes=task.classes,
        is_private=task.is_private,
        source=str(task.source.get("source", "")),
        num_train=task.counts.get("train", 0),
        num_validation=task.counts.get("validation", 0),
        num_test=task.counts.get("test", 0),
        num_skipped=task.counts.get("skipped", 0),
        path_id=path.id if path else None,
        agent=path.agent if path else None,
        validation=measured.quality if measured else None,
        test=measured.test if measured else None,
        num_params=path.num_params if path else 0,
        added_params=added_parameters(path) if path else 0,
        accounted_params=accounted_parameters(path, sharers) if path else 0.0,
        reused=sum(reused.values()),
        reused_from=reused,
        flops=measured.flops if measured else 0,
        image_size=int(path.hparams["ds_image_size"]) if path else None,
        precision=str(measured.extra.get("precision")) if measured else None,
        children=len(store.history(task.name)),
        seconds=sum(cycle.spent_seconds for cycle in store.cycles(task.name)),
    )


def summarize_path(store: Store, path: Path) -> PathSummary:
    """Return the chain, the hyperparameters and the lineage of a live path."""
    users: dict[Digest, list[str]] = {}
    for other in store.live_paths():
        for digest in dict.fromkeys(other.digests):
            users.setdefault(digest, []).append(other.task or ROOT_ID)
    slots = tuple(
        SlotSummary(
            slot=component.slot.name,
            kind=component.slot.kind,
            digest=component.digest,
            num_params=component.num_params,
            trained_by=component.task or ROOT_ID,
            used_by=tuple(users.get(component.digest, ())),
        )
        for component in path.components
    )
    return PathSummary(
        id=path.id,
        task=path.task or ROOT_ID,
        agent=path.agent,
        lineage=_lineage(store, path),
        slots=slots,
        hparams=dict(path.hparams),
        mutations=path.mutations,
        validation=path.metrics.quality if path.metrics else None,
        test=path.metrics.test if path.metrics else None,
    )


def _lineage(store: Store, path: Path) -> tuple[str, ...]:
    known = store.ancestors()
    ids: list[str] = []
    parent = path.parent_id
    while parent is not None and parent not in ids:
        ids.append(parent)
        parent = known[parent].parent_id if parent in known else None
    return tuple(ids)


def summarize_history(store: Store, name: str) -> list[ChildSummary]:
    """Return every sampled child of a task, in the order of sampling."""
    return [summarize_child(child) for child in store.children(name)]


def summarize_child(child: ChildRecord) -> ChildSummary:
    """Return a sampled child of a task's history.

    Args:
        child: The child.
    """
    path = child.path
    _, cycle, generation, _ = path.id.rsplit("/", 3)
    measured = path.metrics
    trained = {slot.name for slot in child.proposal.trainable} if child.proposal else set()
    return ChildSummary(
        id=path.id,
        cycle=int(cycle),
        generation=int(generation),
        parent_id=path.parent_id or ROOT_ID,
        agent=path.agent,
        quality=path.quality,
        validations=measured.validations if measured else (),
        examples=measured.examples if measured else 0,
        seconds=measured.seconds if measured else 0.0,
        num_trained=sum(part.num_params for part in path.components if part.slot.name in trained),
        is_kept=child.is_kept,
        is_live=child.state == "live",
        mutations=path.mutations,
        hparams=dict(path.hparams),
    )
