"""Makes systems of any number of tasks in no time: paths are recorded as a search records them, nothing is trained."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch

from mu2net.core.component import Slot
from mu2net.core.path import Metrics, Mutation
from mu2net.core.path import Path as NetworkPath
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.store.config import SystemConfig
from mu2net.store.records import NewComponent, TaskRecord, TrainedRecord
from mu2net.store.store import Store

DEPTH = 6
HEAD = Slot("head", "head")
HPARAMS = {"opt_lr": 0.01, "num_layers": DEPTH, "ds_image_size": 32, "mu": 0.1}


def slots_of(depth: int) -> tuple[Slot, ...]:
    """The slots of a root with so many blocks, without a head."""
    blocks = (Slot(f"block_{number:02d}", "block") for number in range(depth))
    return (Slot("patch_embed", "patch_embed"), Slot("tokens", "tokens"), *blocks, Slot("norm", "norm"))


def _tensors(generator: torch.Generator) -> dict[str, torch.Tensor]:
    return {"weight": torch.randn(2, 3, generator=generator)}


def _plans(parent: NetworkPath, draw: random.Random) -> tuple[SlotPlan, ...]:
    """Clone one or two blocks of the parent, and take a new head."""
    depth = int(parent.hparams["num_layers"])
    cloned = {f"block_{draw.randrange(depth):02d}", f"block_{draw.randrange(depth):02d}"}
    shared = [part for part in parent.components if part.slot.kind != "head"]
    plans = [SlotPlan(part.slot, "clone" if part.slot.name in cloned else "share", part.digest) for part in shared]
    return (*plans, SlotPlan(HEAD, "fresh", None))


def grow(
    directory: Path,
    tasks: int,
    *,
    children: int = 4,
    private: int = 0,
    again: int = 0,
    depth: int = DEPTH,
    seed: int = 0,
    search: dict[str, float] | None = None,
) -> Store:
    """Return a new system.

    Args:
        directory: Its folder.
        tasks: How many tasks it has.
        children: Children of every task, in generations of two.
        private: How many of the tasks, the first ones, are private.
        again: Cycles of the last task after its first one.
        depth: Number of blocks.
        seed: Of everything that is drawn.
        search: How cycles are run.
    """
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    slots = slots_of(depth)
    store = Store.create(directory, SystemConfig(root="grown", backbone={"kind": "grown"}))
    store.put_root([NewComponent(slot, _tensors(generator), 1_000) for slot in slots], {**HPARAMS, "num_layers": depth})
    public = [store.root()]
    for number in range(tasks):
        name, is_private = f"task{number:03d}", number < private
        counts = {"train": 800, "validation": 100, "test": 200}
        store.add_task(TaskRecord(name, {"source": name}, ("a", "b"), f"{number:064x}", is_private, counts))
        for _ in range(1 + again if number == tasks - 1 else 1):
            published = _evolve(store, name, draw.choice(public), children, draw, generator, search or {})
        if not is_private:
            public.append(published)
    return store


def _evolve(
    store: Store,
    name: str,
    first: NetworkPath,
    children: int,
    draw: random.Random,
    generator: torch.Generator,
    search: dict[str, float],
) -> NetworkPath:
    """Run a cycle in which every child is better than the one before; what is live already is the first parent."""
    live = store.live_paths()
    cycle = store.start_cycle(name, "mu2net", 0, {"live": [path.id for path in live], "search": search})
    best = own = next((path for path in live if path.task == name), first)
    start = best.quality if best.task == name else 0.5
    for child in range(children):
        parent = own if child % 2 else best
        plans = _plans(parent, draw)
        sources = {plan.slot: plan.digest for plan in plans if plan.action == "clone"}
        trained = [plan.slot for plan in plans if plan.is_trainable]
        quality = min(round(start + 0.1 * child + draw.uniform(0.0, 0.05), 4), 0.999)
        rate = draw.choice([0.001, 0.01, 0.1])
        record = TrainedRecord(
            generation=child // 2,
            child=child % 2,
            proposal=Proposal(
                parent.id,
                "root" if parent.task is None else "own" if parent.task == name else "uniform",
                plans,
                {**parent.hparams, "opt_lr": rate},
                (*(Mutation(f"clone:{slot.name}") for slot in sources), Mutation("hp:opt_lr", 0.01, rate)),
            ),
            components=tuple(
                NewComponent(slot, _tensors(generator), 10 if slot == HEAD else 1_000, sources.get(slot))
                for slot in trained
            ),
            metrics=Metrics(quality, 10**8 + 10**6 * child, (quality - 0.1, quality), 640, 2.5),
            is_kept=True,
            spent_seconds=2.5,
        )
        best = own = store.record_child(cycle, record)
    assert best.metrics is not None
    tested = replace(best.metrics, test=best.quality - 0.02)
    return store.publish(cycle, best.id, tested, {}, {})
