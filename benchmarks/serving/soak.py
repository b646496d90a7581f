"""Ten minutes at full load while tasks are added, updated and removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.serving.load import Load, run_load
from benchmarks.serving.served import Server, Start
from mu2net.system import System


@dataclass(frozen=True)
class Soak:
    """What a soak saw.

    Args:
        failed: Requests whose status was neither 200 nor 429, by status.
        answered: Requests that were answered.
        refused: Requests that were told to come again.
        changes: How often a task was added, or removed.
        memory: Resident memory of the server after the warm-up and at the end, in bytes.
        series: All that was seen of it, seconds since the start and bytes.
        growth: Largest memory after the warm-up over that right after it, minus 1.
    """

    failed: Mapping[str, int]
    answered: int
    refused: int
    changes: int
    memory: tuple[int, int]
    series: Sequence[tuple[float, int]]
    growth: float


def run_soak(
    folder: Path,
    threads: int,
    names: Sequence[str],
    images: Sequence[bytes],
    source: Path,
    seconds: float,
    clients: int,
) -> Soak:
    """Ask for some tasks all the time, while another one comes and goes.

    Args:
        folder: The system; the task ``comes-and-goes-N`` is added to it again and again.
        threads: Threads of the server's network.
        names: The tasks that are asked for.
        images: Image files that clients send.
        source: Where the images of the other task are.
        seconds: How long; a fifth of it is the warm-up.
        clients: How many ask.
    """
    is_over, sizes, loads = threading.Event(), list[tuple[float, int]](), list[Load]()
    changes = 0
    with Server(Start(folder, threads, ("--watch", "0.2"))) as server:

        def watch() -> None:
            while not is_over.wait(1.0):
                sizes.append((time.monotonic(), _resident(server.url)))

        def ask() -> None:
            urls = dict.fromkeys(names, server.url)
            loads.append(run_load(urls, images, clients, seconds, seed=0))

        others = [threading.Thread(target=act) for act in (watch, ask)]
        started = time.monotonic()
        for thread in others:
            thread.start()
        with System.open(folder) as system:
            while others[1].is_alive():
                name = f"comes-and-goes-{changes}"
                system.add_task(name, source)
                system.evolve(name, agent="linear", children=1, num_validations=1, examples_per_validation=64)
                others[1].join(2.0)
                system.remove(name)
                changes += 1
        is_over.set()
        for thread in others:
            thread.join()
    after = [size for moment, size in sizes if moment > started + seconds / 5]
    statuses = dict(loads[0].statuses)
    answered, refused = statuses.pop("200", 0), statuses.pop("429", 0)
    series = [(round(moment - started, 1), size) for moment, size in sizes]
    return Soak(statuses, answered, refused, changes, (after[0], after[-1]), series, max(after) / after[0] - 1)


def _resident(url: str) -> int:
    for line in httpx.get(f"{url}/metrics", timeout=120).text.splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return int(float(line.split()[1]))
    raise RuntimeError(f"{url}/metrics says nothing of its memory")
