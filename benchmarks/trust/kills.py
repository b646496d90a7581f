"""Kills real evolving processes at random moments, and compares what comes of them with what nobody disturbed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mu2net.search.events import GenerationStarted
from mu2net.search.executor import LocalExecutor
from mu2net.search.images import open_activations
from mu2net.store.store import Store
from mu2net.store.verify import verify_files
from mu2net.system import System, evolution

TASKS = ("one", "two")
OPTIONS: dict[str, Any] = {
    "agent": "mu2net",
    "children": 4,
    "generation_size": 2,
    "batch_size": 32,
    "num_validations": 2,
    "examples_per_validation": 64,
    "attention": "explicit",
    "precision": "float32",
    "threads": 1,
}
ROOT = "vit:dim=16,depth=2,heads=2,patch=4,image=8"
PER_SYSTEM = 200
"""Kills of one system: what is compared after each grows with its history."""


class _Here:
    """Stands in for worker processes: children train in the process that is killed."""

    def __init__(self, store: Store, task: str, workers: int, cache_limit: int | None) -> None:  # noqa: ARG002
        self._executor = LocalExecutor(store, open_activations(store, cache_limit))

    def __enter__(self) -> LocalExecutor:
        return self._executor

    def __exit__(self, *_: object) -> None:
        return


@dataclass(frozen=True)
class Killed:
    """What was left after many kills.

    Args:
        kills: Processes that were killed while they evolved.
        paths_lost: Paths that had been published before a kill and were not live, or not whole, after it.
        groups_redone: Most groups of children that one resumed process trained again.
        damages: Damaged files that were found after a kill.
        differences: Cycles whose paths differ in any bit from those of an undisturbed run.
        cycles: Cycles that were finished.
    """

    kills: int
    paths_lost: int
    groups_redone: int
    damages: int
    differences: int
    cycles: int


def kill_many(folder: Path, kills: int, seed: int = 0, progress: Callable[[int], None] | None = None) -> Killed:
    """Evolve two tasks again and again, and kill the process at random moments until it was killed ``kills`` times.

    Args:
        folder: Where the systems are made, one for every ``PER_SYSTEM`` kills.
        kills: How often.
        seed: Of all draws.
        progress: Told how many kills are done.
    """
    setattr(evolution, "ProcessExecutor", _Here)  # noqa: B010 - the class that it imported
    torch.set_num_threads(1)
    draw = random.Random(seed)  # noqa: S311 - moments, not secrets
    found: list[Killed] = []
    while (done := sum(one.kills for one in found)) < kills:
        place = folder / str(len(found))
        place.mkdir()
        wanted = min(PER_SYSTEM, kills - done)
        tell = None if progress is None else partial(_add, progress, done)
        found.append(_kill_one_system(place, wanted, draw, seed + len(found), tell))
        shutil.rmtree(place)
    return Killed(
        kills=done,
        paths_lost=sum(one.paths_lost for one in found),
        groups_redone=max(one.groups_redone for one in found),
        damages=sum(one.damages for one in found),
        differences=sum(one.differences for one in found),
        cycles=sum(one.cycles for one in found),
    )


def _add(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _kill_one_system(
    folder: Path, kills: int, draw: random.Random, seed: int, progress: Callable[[int], None] | None
) -> Killed:
    directory = folder / "system"
    with System.create(directory, root=ROOT, seed=seed) as system:
        for name in TASKS:
            system.add_task(name, "demo:digits")
    done = lost = redone = damages = differences = cycles = 0
    while done < kills:
        name, undisturbed = TASKS[cycles % len(TASKS)], folder / "undisturbed"
        shutil.copytree(directory, undisturbed)
        started = time.monotonic()
        _evolve(undisturbed, name, cycles, folder / "log")
        length = time.monotonic() - started
        before: list[int] = []
        while True:
            log = folder / "log"
            log.unlink(missing_ok=True)
            published = {path.id: path.digests for path in Store.open(directory).live_paths()}
            was_killed = _run_and_kill(directory, name, cycles, log, draw.uniform(0.0, length))
            has_published = len(Store.open(directory).cycles(name)) == len(Store.open(undisturbed).cycles(name)) and (
                Store.open(directory).running_cycle(name) is None
            )
            generations = [int(line) for line in log.read_text().split()] if log.exists() else []
            redone = max(redone, len(set(before) & set(generations)))
            before = generations
            if not was_killed:
                break
            done += 1
            if progress is not None:
                progress(done)
            store = Store.open(directory)
            damages += len(verify_files(store))
            known = {child.path.id: child for task in TASKS for child in store.children(task)}
            lost += sum(
                identity not in known or known[identity].path.digests != digests or known[identity].state == "child"
                for identity, digests in published.items()
            )
            if has_published:  # it was killed between its publication and its end
                break
        differences += _outcome(directory, name) != _outcome(undisturbed, name)
        shutil.rmtree(undisturbed)
        cycles += 1
    return Killed(done, lost, redone, damages, differences, cycles)


def _evolve(directory: Path, name: str, seed: int, log: Path) -> None:
    def observe(event: object) -> None:
        if isinstance(event, GenerationStarted):
            with log.open("a") as file:
                file.write(f"{event.number}\n")

    with System.open(directory) as system:
        system.evolve(name, seed=seed, observer=observe, **OPTIONS)


def _run_and_kill(directory: Path, name: str, seed: int, log: Path, seconds: float) -> bool:
    """Evolve in a process of its own, kill it after a time, and return whether it still ran."""
    process = os.fork()
    if process == 0:
        try:
            _evolve(directory, name, seed, log)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return _ended(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status) or _ended(status)


def _ended(status: int) -> bool:
    """Return ``False`` for a process that reached its end.

    Raises:
        RuntimeError: It failed by itself.
    """
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"an evolving process failed by itself, with status {status}")
    return False


def _outcome(directory: Path, name: str) -> list[tuple[Any, ...]]:
    store = Store.open(directory)
    live = store.live_path(name)
    children = [
        (child.path.id, child.path.digests, child.path.metrics and child.path.metrics.validations, child.is_kept)
        for child in store.children(name)
    ]
    return [(live.id, live.digests) if live else (None, ()), *children]
