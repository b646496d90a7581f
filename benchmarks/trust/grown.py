"""Small systems to break: real stores, with paths that share, history, momentum and probes."""

from __future__ import annotations

from pathlib import Path

import torch

from mu2net.core.component import Slot
from mu2net.core.path import Metrics
from mu2net.core.path import Path as NetworkPath
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.store.config import SystemConfig
from mu2net.store.records import NewComponent, TaskRecord, TrainedRecord
from mu2net.store.store import Store

BLOCKS = 4
HEAD = Slot("head", "head")


def make_store(directory: Path, width: int = 16) -> Store:
    """Return the store of a new system whose root has a few blocks of random numbers.

    Args:
        directory: Its folder.
        width: A block has ``width²`` parameters.
    """
    generator = torch.Generator().manual_seed(0)
    store = Store.create(directory, SystemConfig(root="random", backbone={"kind": "random"}, seed=0))
    slots = [Slot(f"block_{number:02d}", "block") for number in range(BLOCKS)]
    parts = [NewComponent(slot, {"weight": torch.randn(width, width, generator=generator)}, width**2) for slot in slots]
    store.put_root(parts, {"opt_lr": 0.01})
    return store


def add_task(store: Store, name: str) -> None:
    """Add a task that has no images."""
    store.add_task(TaskRecord(name, {"uri": f"none:{name}"}, ("a", "b"), "f" * 64))


def publish(store: Store, name: str, parent: NetworkPath, seed: int, width: int = 16, children: int = 2) -> NetworkPath:
    """Run a cycle of a task without training: record some children of a parent, publish the first, and return it.

    Args:
        store: The system.
        name: The task.
        parent: Whose blocks they share; each clones the last block and has a new head.
        seed: Seed of their parameters.
        width: As in ``make_store``.
        children: How many are recorded.
    """
    cycle = store.start_cycle(name, "mu2net", seed, {"live": [path.id for path in store.live_paths()]})
    generator = torch.Generator().manual_seed(1000 + seed)
    shared, cloned = parent.components[: BLOCKS - 1], parent.components[BLOCKS - 1]
    paths = []
    for child in range(children):
        weight, head = torch.randn(width, width, generator=generator), torch.randn(2, width, generator=generator)
        block = NewComponent(cloned.slot, {"weight": weight}, width**2, cloned.digest, momentum={"weight": -weight})
        plans = [SlotPlan(component.slot, "share", component.digest) for component in shared]
        plans += [SlotPlan(cloned.slot, "clone", cloned.digest), SlotPlan(HEAD, "fresh", None)]
        proposal = Proposal(parent.id, "seed" if parent.task else "root", tuple(plans), {"opt_lr": 0.01})
        record = TrainedRecord(
            0, child, proposal, (block, NewComponent(HEAD, {"weight": head}, 2 * width)), Metrics(0.5, 1), is_kept=True
        )
        paths.append(store.record_child(cycle, record))
    probe = {"logits": torch.randn(4, 2, generator=generator)}
    return store.publish(cycle, paths[0].id, Metrics(0.5, 1, test=0.5), probe, {"torch": torch.__version__})
