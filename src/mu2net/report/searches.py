"""How searches went: every sampled child, what it was charged for, and what mutations did."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from mu2net.core.component import Digest
from mu2net.core.path import Mutation, Path
from mu2net.core.score import Scoring, accounted_parameters, count_sharers
from mu2net.nn.roots import backbone_from_config
from mu2net.report.data import ChildFacts, EffectFacts, MutationFacts, SearchFacts
from mu2net.report.intervals import student_quantile
from mu2net.store.records import ChildRecord, CycleRecord
from mu2net.store.store import Store
from mu2net.system.overview import summarize_child

_FEWEST = 3
"""Children of which a mean change is shown."""


def describe_search(store: Store, task: str, records: Sequence[ChildRecord], known: Mapping[str, Path]) -> SearchFacts:
    """Return how the search of a task went, over all of its cycles.

    Args:
        store: The system.
        task: The task.
        records: Its children, in the order of sampling.
        known: The paths that count as sharers, by id.
    """
    paths = {record.path.id: record.path for record in records}
    charges = {cycle.number: Charges(store, cycle, known) for cycle in store.cycles(task)}
    ends = _ends(store.cycles(task), records)
    children = [
        _child(record, paths, charges[summarize_child(record).cycle], end)
        for record, end in zip(records, ends, strict=True)
    ]
    live = next((record.path for record in records if record.state == "live"), None)
    lineage: list[str] = []
    while live is not None and live.id not in lineage:
        lineage.append(live.id)
        live = paths.get(live.parent_id or "")
    return SearchFacts(
        task=task, children=tuple(children), lineage=tuple(reversed(lineage)), effects=mutation_effects(children)
    )


class Charges:
    """What a path of a cycle is charged for size and compute: with the sharers that its cycle began with.

    Args:
        store: The system.
        cycle: The cycle.
        known: The paths that count, by id.

    Attributes:
        before: Score of the task's path that was live when the cycle began; ``None`` where there was none.
    """

    def __init__(self, store: Store, cycle: CycleRecord, known: Mapping[str, Path]) -> None:
        live = [known[name] for name in cycle.config.get("live", ()) if name in known]
        self._others = count_sharers(path for path in live if path.task != cycle.task)
        search = cycle.config.get("search", {})
        s_compute = search.get("s_compute", 1.0)
        flops = 1 if s_compute == 1.0 else backbone_from_config(store.config.backbone).anatomy.flops
        self._scoring = Scoring(max(store.root().num_params, 1), flops, search.get("s_size", 1.0), s_compute)

        own = [path for path in live if path.task == cycle.task]
        self.before = self.score(own[-1]) if own else None

    def accounted(self, path: Path) -> float:
        """Return the parameters that a path of the cycle's task is charged for."""
        return accounted_parameters(path, self._sharers(path))

    def score(self, path: Path) -> float:
        """Return the score of a path of the cycle's task."""
        return self._scoring.score(path, self._sharers(path))

    def _sharers(self, path: Path) -> dict[Digest, int]:
        return {digest: self._others.get(digest, 0) + 1 for digest in path.digests}


def _ends(cycles: Sequence[CycleRecord], records: Sequence[ChildRecord]) -> list[float]:
    """Return the time of all cycles that was spent when each child was finished, in seconds.

    Children of a generation train at the same time: the time of a cycle is dealt out by what each took itself.
    """
    rows = [summarize_child(record) for record in records]
    taken = defaultdict[int, float](float)
    for row in rows:
        taken[row.cycle] += row.seconds
    before, total = {}, 0.0
    for cycle in cycles:
        before[cycle.number] = total
        total += cycle.spent_seconds
    spent = {cycle.number: cycle.spent_seconds for cycle in cycles}
    done, ends = defaultdict[int, float](float), []
    for row in rows:
        done[row.cycle] += row.seconds
        share = done[row.cycle] / taken[row.cycle] if taken[row.cycle] else 1.0
        ends.append(before[row.cycle] + spent[row.cycle] * share)
    return ends


def _child(record: ChildRecord, paths: Mapping[str, Path], charges: Charges, end: float) -> ChildFacts:
    row, path = summarize_child(record), record.path
    parent = paths.get(row.parent_id)
    return ChildFacts(
        id=row.id,
        cycle=row.cycle,
        generation=row.generation,
        parent=row.parent_id,
        quality=row.quality,
        score=charges.score(path),
        change=None if parent is None else row.quality - parent.quality,
        validations=row.validations,
        end=end,
        seconds=row.seconds,
        trained_params=row.num_trained,
        accounted_params=charges.accounted(path),
        flops=path.metrics.flops if path.metrics else 0,
        num_params=path.num_params,
        is_kept=row.is_kept,
        is_live=row.is_live,
        mutations=tuple(_mutation(mutation) for mutation in row.mutations),
        hparams=dict(row.hparams),
    )


def _mutation(mutation: Mutation) -> MutationFacts:
    return MutationFacts(name=mutation.name, before=mutation.before, after=mutation.after, is_forced=mutation.is_forced)


def mutation_effects(children: Iterable[ChildFacts]) -> tuple[EffectFacts, ...]:
    """Return what every kind of mutation did for the children that drew it; the best first.

    A child draws several mutations at once, so a mean says what went along with a mutation, not what it caused. The
    intervals are Student's; kinds that fewer than three children drew are left out, because theirs would say nothing.

    Args:
        children: Sampled children, of one task or of several.
    """
    changes: dict[str, list[float]] = defaultdict(list)
    for child in children:
        if child.change is not None:
            for kind in {_kind(mutation) for mutation in child.mutations if not mutation.is_forced}:
                changes[kind].append(child.change)
    found = [_effect(kind, values) for kind, values in changes.items() if len(values) >= _FEWEST]
    return tuple(sorted(found, key=lambda effect: (-effect.mean, effect.kind)))


def _kind(mutation: MutationFacts) -> str:
    """Return a hyperparameter by its name, and all that happens to slots by what happens."""
    return mutation.name if mutation.name.startswith("hp:") else mutation.name.partition(":")[0]


def _effect(kind: str, changes: Sequence[float]) -> EffectFacts:
    mean, half = fmean(changes), student_quantile(len(changes) - 1) * stdev(changes) / math.sqrt(len(changes))
    return EffectFacts(kind=kind, count=len(changes), mean=mean, low=mean - half, high=mean + half)
