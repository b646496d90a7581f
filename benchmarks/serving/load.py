"""Clients that ask again and again, in a process of their own.

``python -m benchmarks.serving.load`` reads a plan as JSON from standard input and writes what it saw to the output.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import numpy as np

_HEADERS = {"content-type": "application/octet-stream"}


@dataclass(frozen=True)
class Load:
    """What clients saw.

    Args:
        rate: Answers per second.
        latency: Seconds of the 50th, 95th and 99th percentile of answers.
        statuses: How often each HTTP status came.
        labels: For every (task, image), the labels that came.
    """

    rate: float
    latency: tuple[float, float, float]
    statuses: Mapping[str, int]
    labels: Mapping[str, Sequence[str]]


def run_load(
    urls: Mapping[str, str], images: Sequence[bytes], clients: int, seconds: float, seed: int, warm_up: float = 2.0
) -> Load:
    """Let clients ask for one task each time, drawn at random, as soon as they have their last answer.

    Args:
        urls: The server of every task.
        images: Image files; clients draw from them.
        clients: How many there are.
        seconds: How long answers count.
        seed: Of all draws.
        warm_up: How long they ask before that, in seconds.
    """
    plan = {
        "urls": dict(urls),
        "images": [base64.b64encode(image).decode() for image in images],
        "clients": clients,
        "seconds": seconds,
        "warm_up": warm_up,
        "seed": seed,
    }
    command = [sys.executable, "-m", "benchmarks.serving.load"]
    done = subprocess.run(command, input=json.dumps(plan), capture_output=True, text=True, check=True)  # noqa: S603
    found = json.loads(done.stdout)
    p50, p95, p99 = found["latency"]
    return Load(found["rate"], (p50, p95, p99), found["statuses"], found["labels"])


async def _ask(plan: dict[str, object]) -> dict[str, object]:
    urls: dict[str, str] = plan["urls"]  # type: ignore[assignment]
    images = [base64.b64decode(text) for text in plan["images"]]  # type: ignore[attr-defined]
    clients, seconds, warm_up = int(plan["clients"]), float(plan["seconds"]), float(plan["warm_up"])  # type: ignore[call-overload, arg-type]
    names = sorted(urls)
    starts = time.perf_counter() + warm_up
    times: list[float] = []
    statuses: Counter[str] = Counter()
    labels: dict[str, set[str]] = {}

    async def ask(number: int, client: httpx.AsyncClient) -> None:
        draw = np.random.default_rng([int(plan["seed"]), number])  # type: ignore[call-overload]
        while (begun := time.perf_counter()) < starts + seconds:
            name, image = names[draw.integers(len(names))], int(draw.integers(len(images)))
            answer = await client.post(
                f"{urls[name]}/v1/tasks/{name}/predict?top_k=1", content=images[image], headers=_HEADERS
            )
            ended = time.perf_counter()
            if not starts <= ended <= starts + seconds:
                continue
            statuses[str(answer.status_code)] += 1
            if answer.status_code == 200:
                times.append(ended - begun)
                labels.setdefault(f"{name} {image}", set()).add(answer.json()["predictions"][0]["label"])
            else:
                await asyncio.sleep(0.05)

    # Every one has connections of its own: looking through those of all others for each request takes half a processor.
    async with AsyncExitStack() as stack:
        trusted = httpx.create_ssl_context()
        own = [await stack.enter_async_context(httpx.AsyncClient(timeout=120, verify=trusted)) for _ in range(clients)]
        await asyncio.gather(*(ask(number, client) for number, client in enumerate(own)))
    return {
        "rate": len(times) / seconds,
        "latency": np.percentile(times, [50, 95, 99]).tolist() if times else [float("nan")] * 3,
        "statuses": statuses,
        "labels": {key: sorted(found) for key, found in labels.items()},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_ask(json.load(sys.stdin)))))
