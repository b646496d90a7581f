"""Reads a system and writes down what its pictures show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from graphlib import TopologicalSorter
from itertools import pairwise

from mu2net.core.component import Component, Digest
from mu2net.core.path import ROOT_ID, Path
from mu2net.core.score import count_sharers
from mu2net.report.data import (
    ComponentFacts,
    ReplayFacts,
    Report,
    RivalFacts,
    SharingFacts,
    StepFacts,
    SystemFacts,
    TaskFacts,
)
from mu2net.report.intervals import wilson
from mu2net.report.palette import OwnerFacts, owner_facts
from mu2net.report.quality import known_quality
from mu2net.report.quality_facts import QualityFacts
from mu2net.report.searches import Charges, describe_search
from mu2net.store.migrate import mu2net_version
from mu2net.store.records import ChildRecord, TaskRecord
from mu2net.store.store import Store
from mu2net.store.usage import usage
from mu2net.system.overview import summarize_child, summarize_task
from mu2net.system.summary import added_parameters

Measure = Callable[[Path], QualityFacts | None]
"""Says what a live path gets right and wrong; ``None`` where that is not known."""


def gather(store: Store, *, with_private: bool = True, measure: Measure | None = None) -> Report:
    """Return everything that the pictures of a system show.

    Args:
        store: The system.
        with_private: Whether private tasks are in it.
        measure: Asked what live paths get right and wrong; by default what was measured before is taken. Where it does
            not know, the report says so.
    """
    measure = measure or partial(known_quality, store)
    _, everything, live = store.moment()
    tasks = [task for task in everything if with_private or not task.is_private]
    names = {task.name for task in tasks}
    live = [path for path in live if path.task in names]
    # What happens from here on is not in the report; events come first, so that their paths are known.
    events = [event for event in store.events() if event.kind in ("path_published", "task_imported")]
    known = store.ancestors()
    published = [
        (event.at, known[event.payload["path"]])
        for event in events
        if event.task in names and event.payload["path"] in known
    ]
    root = store.root()
    private = frozenset(task.name for task in everything if task.is_private)
    shown = _Components(store, [root, *(path for _, path in published), *live], private)
    children = {task.name: store.children(task.name) for task in tasks}
    last = _last_search(published, children)
    visible = {name: path for name, path in known.items() if path.task is None or path.task in names}
    searches = [describe_search(store, name, records, visible) for name, records in children.items()]
    sizes = store.components.sizes()
    return Report(
        made_by=mu2net_version(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        system=SystemFacts(
            root=store.config.root,
            root_params=root.num_params,
            total_params=_total_params([root, *live]),
            live_bytes=_total_bytes([root, *live], sizes),
            disk_bytes=_disk_bytes(store) if with_private or not private else None,
            seconds=sum(cycle.spent_seconds for task in tasks for cycle in store.cycles(task.name)),
        ),
        owners=_owners(tasks, shown.facts),
        slots=_slots([root, *(path for _, path in published), *live, *(record.path for record in last)]),
        components=shown.facts,
        root=shown.indices(root),
        tasks=_tasks(store, tasks, live, shown),
        growth=_growth(store, root, published, shown, sizes),
        searches=tuple(search for search in searches if search.children),
        replay=_replay(store, last, len(published) - 1, shown, visible) if last else None,
        sharing=_sharing(live),
        quality=tuple(measure(path) or _unmeasured(path) for path in live),
    )


class _Components:
    """The components of some paths, numbered in the order in which they come."""

    def __init__(self, store: Store, paths: Iterable[Path], private: Collection[str]) -> None:
        first: dict[Digest, Component] = {}
        for path in paths:
            for component in path.components:
                first.setdefault(component.digest, component)
        self._index = {digest: number for number, digest in enumerate(first)}
        self._store, self._private = store, private
        self.facts = self._describe(first)

    def indices(self, path: Path) -> tuple[int, ...]:
        return tuple(self._index[digest] for digest in path.digests)

    def further(self, paths: Iterable[Path]) -> tuple[ComponentFacts, ...]:
        """Number what other paths have besides, and return it."""
        first: dict[Digest, Component] = {}
        for path in paths:
            for component in path.components:
                if component.digest not in self._index:
                    self._index[component.digest] = len(self._index)
                    first[component.digest] = component
        return self._describe(first)

    def _describe(self, components: Mapping[Digest, Component]) -> tuple[ComponentFacts, ...]:
        sources = self._sources(components)
        return tuple(
            ComponentFacts(
                digest=digest,
                slot=component.slot.name,
                kind=component.slot.kind,
                num_params=component.num_params,
                trained_by=component.task or ROOT_ID,
                source=sources[digest],
                is_private=component.task in self._private,
            )
            for digest, component in components.items()
        )

    def _sources(self, digests: Iterable[Digest]) -> dict[Digest, int | None]:
        """Return the number of the nearest shown component that each was cloned from; ``None`` where there is none."""
        found: dict[Digest, int | None] = {}
        ahead = {digest: digest for digest in digests}
        while ahead:
            records = self._store.component_records(set(ahead.values()))
            nearer: dict[Digest, Digest] = {}
            for digest, reached in ahead.items():
                source = records[reached].source_digest if reached in records else None
                if source is None or source in self._index:
                    found[digest] = None if source is None else self._index[source]
                else:
                    nearer[digest] = source
            ahead = nearer
        return found


def _slots(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return all slots, each behind those that come before it in any path; adapters come before their block."""
    before: dict[str, set[str]] = {}
    for path in paths:
        names = [component.slot.name for component in path.components]
        for name in names:
            before.setdefault(name, set())
        for one, other in pairwise(names):
            before[other].add(one)
    return tuple(TopologicalSorter(before).static_order())


def _total_params(paths: Iterable[Path]) -> int:
    return sum({component.digest: component.num_params for path in paths for component in path.components}.values())


def _total_bytes(paths: Iterable[Path], sizes: Mapping[Digest, int]) -> int:
    return sum(sizes.get(digest, 0) for digest in {digest for path in paths for digest in path.digests})


def _disk_bytes(store: Store) -> int:
    found = usage(store)
    return found.live + found.history + found.orphans


def _owners(tasks: Sequence[TaskRecord], components: Iterable[ComponentFacts]) -> tuple[OwnerFacts, ...]:
    """Return how owners look: the tasks, then those that are gone and of whom something is still shown."""
    names = [task.name for task in tasks]
    gone = sorted({component.trained_by for component in components} - {ROOT_ID, *names})
    return owner_facts(ROOT_ID, [*names, *gone])


def _unmeasured(path: Path) -> QualityFacts:
    return QualityFacts(task=path.task or ROOT_ID, problem=f"nobody looked at what {path.id} says; run: mu2net report")


def _tasks(
    store: Store, tasks: Sequence[TaskRecord], live: Sequence[Path], shown: _Components
) -> tuple[TaskFacts, ...]:
    paths, sharers = {path.task: path for path in live}, count_sharers(live)
    return tuple(_task(store, task, paths.get(task.name), sharers, shown) for task in tasks)


def _task(
    store: Store, task: TaskRecord, path: Path | None, sharers: Mapping[Digest, int], shown: _Components
) -> TaskFacts:
    row = summarize_task(store, task, path, sharers)
    return TaskFacts(
        name=row.name,
        classes=len(row.classes),
        is_private=row.is_private,
        num_train=row.num_train,
        num_validation=row.num_validation,
        num_test=row.num_test,
        path=row.path_id,
        components=shown.indices(path) if path else (),
        agent=row.agent,
        validation=None if row.validation is None else wilson(row.validation, row.num_validation),
        test=None if row.test is None else wilson(row.test, row.num_test),
        num_params=row.num_params,
        added_params=row.added_params,
        accounted_params=row.accounted_params,
        flops=row.flops,
        seconds=row.seconds,
        children=row.children,
        reuse=_reuse(path) if path else {},
        influence=tuple(sorted(path.influence)) if path else (),
        hparams=dict(path.hparams) if path else {},
    )


def _params_by_owner(path: Path) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for component in path.components:
        found[component.task or ROOT_ID] += component.num_params
    return found


def _reuse(path: Path) -> dict[str, float]:
    shares = {owner: params / path.num_params for owner, params in _params_by_owner(path).items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _growth(
    store: Store,
    root: Path,
    published: Sequence[tuple[datetime, Path]],
    shown: _Components,
    sizes: Mapping[Digest, int],
) -> tuple[StepFacts, ...]:
    live: dict[str, Path] = {}
    steps = []
    for at, path in published:
        task = path.task or ROOT_ID
        live[task] = path
        number = int(path.id.rsplit("/", 3)[1])
        spent = [cycle.spent_seconds for cycle in store.cycles(task) if cycle.number <= number]
        steps.append(
            StepFacts(
                at=at.isoformat(timespec="seconds"),
                task=task,
                path=path.id,
                components=shown.indices(path),
                validation=path.quality,
                test=path.metrics.test if path.metrics else None,
                added_params=added_parameters(path),
                flops=path.metrics.flops if path.metrics else 0,
                seconds=sum(spent),
                total_params=_total_params([root, *live.values()]),
                total_bytes=_total_bytes([root, *live.values()], sizes),
                live_tasks=len(live),
            )
        )
    return tuple(steps)


def _sharing(live: Sequence[Path]) -> SharingFacts:
    by_user = [(path.task or ROOT_ID, _params_by_owner(path)) for path in live]
    used = set().union(*(owners for _, owners in by_user)) - {ROOT_ID}
    users = [user for user, _ in by_user]
    owners = (ROOT_ID, *(user for user in users if user in used), *sorted(used - set(users)))
    params = tuple(tuple(its.get(owner, 0) for owner in owners) for _, its in by_user)
    return SharingFacts(users=tuple(users), owners=owners, params=params)


def _last_search(
    published: Sequence[tuple[datetime, Path]], children: Mapping[str, Sequence[ChildRecord]]
) -> list[ChildRecord]:
    """Return the children of the cycle that published last."""
    if not published:
        return []
    task, cycle, _, _ = published[-1][1].id.rsplit("/", 3)
    return [record for record in children[task] if record.path.id.startswith(f"{task}/{cycle}/")]


def _replay(
    store: Store, records: Sequence[ChildRecord], step: int, shown: _Components, known: Mapping[str, Path]
) -> ReplayFacts:
    further = shown.further(record.path for record in records)
    rows = [summarize_child(record) for record in records]
    task = records[0].path.task or ROOT_ID
    (cycle,) = (cycle for cycle in store.cycles(task) if cycle.number == rows[0].cycle)
    charges = Charges(store, cycle, known)
    return ReplayFacts(
        task=task,
        cycle=cycle.number,
        step=step,
        before=charges.before,
        components=further,
        children=tuple(
            RivalFacts(
                id=row.id,
                generation=row.generation,
                quality=row.quality,
                score=charges.score(record.path),
                is_kept=row.is_kept,
                components=shown.indices(record.path),
            )
            for row, record in zip(rows, records, strict=True)
        ),
    )
