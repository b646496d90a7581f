"""Many processes at once: writers of different tasks, readers, and one that collects all the while."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.trust.grown import add_task, make_store, publish
from mu2net.store.collect import collect
from mu2net.store.store import Store
from mu2net.store.verify import verify_files


@dataclass(frozen=True)
class Together:
    """What became of processes that ran together.

    Args:
        publications: How many there are.
        expected: How many there must be.
        lost: Updates that are missing, or were overwritten.
        errors: Tracebacks of processes that failed.
        damages: What ``verify`` found afterwards.
        reads: States that the readers saw, each of which was whole.
        collections: How often unneeded files were collected.
        collected: Files that were.
        seconds: How long it took.
    """

    publications: int
    expected: int
    lost: int
    errors: tuple[str, ...]
    damages: tuple[str, ...]
    reads: int
    collections: int
    collected: int
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether nothing was lost, and nobody saw an error."""
        return not (self.lost or self.errors or self.damages) and self.publications == self.expected


def run_together(folder: Path, writers: int, count: int, readers: int = 2) -> Together:
    """Let processes publish for tasks of their own, while others read, and one collects without a grace period.

    Args:
        folder: Where the system is made; it must not exist.
        writers: How many processes publish.
        count: How often each does.
        readers: How many processes read.
    """
    store, started = make_store(folder), time.monotonic()
    notes = folder.with_name(f"{folder.name}-notes")
    notes.mkdir()
    for number in range(writers):
        add_task(store, f"task{number}")
    writing = [_start(notes / f"writer{number}", _write, folder, f"task{number}", count) for number in range(writers)]
    others = [_start(notes / f"reader{number}", _read, folder, notes) for number in range(readers)]
    others.append(_start(notes / "collector", _collect, folder, notes))
    for process in writing:
        os.waitpid(process, 0)
    (notes / "over").touch()
    for process in others:
        os.waitpid(process, 0)
    found = {file.stem: json.loads(file.read_text()) for file in notes.glob("*.json")}
    errors = tuple(file.read_text() for file in sorted(notes.glob("*.error")))
    published = [event for event in store.events() if event.kind == "path_published"]
    live = {path.task: path.id for path in store.live_paths()}
    lost = sum(count - sum(event.task == f"task{number}" for event in published) for number in range(writers))
    lost += sum(live.get(f"task{number}") != found.get(f"writer{number}") for number in range(writers))
    return Together(
        publications=len(published),
        expected=writers * count,
        lost=lost,
        errors=errors,
        damages=tuple(finding.message for finding in verify_files(store)),
        reads=sum(found.get(f"reader{number}", 0) for number in range(readers)),
        collections=found.get("collector", [0, 0])[0],
        collected=found.get("collector", [0, 0])[1],
        seconds=time.monotonic() - started,
    )


def _start(note: Path, act: Callable[..., object], *args: object) -> int:
    """Run a function in a process of its own; what it returns is written to ``note.json``, or why it failed."""
    process = os.fork()
    if process:
        return process
    try:
        note.with_suffix(".json").write_text(json.dumps(act(*args)))
    except BaseException:
        note.with_suffix(".error").write_text(traceback.format_exc())
        sys.stdout.flush()
    os._exit(0)


def _write(folder: Path, task: str, count: int) -> str:
    """Publish again and again, each path a child of the one before; return the last one's id."""
    store = Store.open(folder)
    path = store.root()
    for number in range(count):
        with store.evolving(task):
            path = publish(store, task, path, number)
    return path.id


def _read(folder: Path, notes: Path) -> int:
    """Look at all live paths and load what they consist of; return how often."""
    store, times = Store.open(folder), 0
    while not (notes / "over").exists():
        for path in store.live_paths():
            assert len(path.components) == len(store.root().components) + 1, path
            assert store.child(path.id).path.components == path.components, path
        root = store.root()
        with store.leases.reading([root.id]):
            for digest in root.digests:
                store.load(digest)
        times += 1
    return times


def _collect(folder: Path, notes: Path) -> tuple[int, int]:
    """Collect without a grace period; return how often, and how many files went."""
    store, times, gone = Store.open(folder), 0, 0
    while not (notes / "over").exists():
        gone += len(collect(store, grace=timedelta(0), is_dry=False).files)
        times += 1
    return times, gone
