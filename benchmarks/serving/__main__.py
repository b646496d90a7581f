"""``make bench-serving``: what serving many tasks from one process gains, on a machine that does nothing else."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx
import torch
from PIL import Image

from benchmarks.results import Row, format_table, write_rows
from benchmarks.serving.inside import Single, all_tasks_speedup, int8_speedup, memory_ratio, onnx_speedup
from benchmarks.serving.load import run_load
from benchmarks.serving.served import TASKS, Server, Start, encoded_images, make_system
from benchmarks.serving.soak import run_soak
from mu2net.store.store import Store
from mu2net.system import System

RESULTS = Path(__file__).parents[1] / "results" / "serving.json"
PARTS = ("all_tasks", "memory", "onnx", "int8", "overhead", "labels", "clients", "mixed", "mixed_defaults", "soak")
CLIENTS = (1, 8, 64)


@dataclass(frozen=True)
class Place:
    """Where everything is measured.

    Args:
        folder: The system.
        tasks: The folder of the tasks' images.
        names: The tasks.
        cores: Cores of the machine.
        options: The command line.
    """

    folder: Path
    tasks: Path
    names: Sequence[str]
    cores: int
    options: argparse.Namespace

    def images(self, each: int) -> list[bytes]:
        """Return some image files of every task."""
        seed = self.options.seed
        return [image for name in self.names for image in encoded_images(self.tasks / name, each, seed)]

    def image(self) -> Image.Image:
        """Return a test image of the first task, RGB."""
        return Image.open(io.BytesIO(self.images(1)[0])).convert("RGB")


def main(arguments: list[str] | None = None) -> int:
    """Measure the parts that were asked for.

    Args:
        arguments: The command line; that of the process by default.
    """
    options = _parser().parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="mu2net-serving-")) if options.work is None else options.work
    place = Place(folder / "system", options.tasks, options.names, len(os.sched_getaffinity(0)), options)
    try:
        make_system(place.folder, options.root, options.tasks, options.names, options.trained)
        for part, measure in MEASURES.items():
            if part in options.only:
                rows = measure(place)
                print(format_table(rows), flush=True)
                if not options.dry:
                    write_rows(options.output, rows)
    finally:
        if options.work is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _all_tasks(place: Place) -> list[Row]:
    ratios, difference = all_tasks_speedup(place.folder, place.image(), place.options.pairs)
    title = f"all {len(place.names)} tasks on one image, over as many models by themselves, times as fast"
    detail = {"largest_logit_difference": difference, "threads": torch.get_num_threads()}
    return [Row.of("all_tasks", title, ratios, at_least=2.5, detail=detail)]


def _memory(place: Place) -> list[Row]:
    ratios, found = memory_ratio(place.folder, place.options.pairs)
    title = f"memory of {len(place.names)} tasks through one network, over that of as many models"
    return [Row.of("memory", title, ratios, at_most=0.45, detail={"bytes": found})]


def _onnx(place: Place) -> list[Row]:
    torch.set_num_threads(place.cores)
    ratios, difference = onnx_speedup(place.folder, place.names[0], place.image(), place.options.pairs)
    title = "one image through onnxruntime, times as fast as through PyTorch in float32"
    detail = {"largest_logit_difference": difference, "threads": place.cores}
    return [Row.of("onnx", title, ratios, detail=detail)]


def _int8(place: Place) -> list[Row]:
    torch.set_num_threads(place.cores)
    rows = []
    for batch in (1, 32):
        files = encoded_images(place.tasks / place.names[0], batch, place.options.seed)
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        ratios = int8_speedup(place.folder, place.names[0], images, place.options.pairs)
        title = f"a batch of {batch} in 8-bit integers, times as fast as in float32"
        rows.append(Row.of(f"int8_{batch}", title, ratios, detail={"threads": place.cores}))
    return rows


def _overhead(place: Place) -> list[Row]:
    name = place.names[0]
    files = encoded_images(place.tasks / name, 32, place.options.seed)
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    single = Single(Store.open(place.folder), name)
    pixels = single.inputs(images)
    torch.set_num_threads(place.cores)
    shares, uploads = [], [("images", ("image", file)) for file in files]
    start = Start(place.folder, place.cores, ("--max-batch", "32", "--max-images", "32"))
    with Server(start) as server, httpx.Client(timeout=120) as client:
        for pair in range(place.options.pairs + 1):
            started = perf_counter()
            single.run(pixels)
            between = perf_counter()
            client.post(f"{server.url}/v1/tasks/{name}/predict?top_k=1", files=uploads).raise_for_status()
            if pair:  # the first of each does not count
                shares.append((perf_counter() - between) / (between - started) - 1)
    title = "time of a request of 32 images over the bare forward's, minus 1"
    return [Row.of("overhead", title, shares, at_most=0.15)]


def _labels(place: Place) -> list[Row]:
    differences = count = 0
    with Server(Start(place.folder, place.cores)) as server, System.open(place.folder) as system:
        for name in place.names:
            files = encoded_images(place.tasks / name, place.options.images, place.options.seed)
            load = run_load({name: server.url}, files, 16, place.options.seconds, place.options.seed)
            images = [Image.open(io.BytesIO(file)) for file in files]
            expected = [prediction.label for prediction in system.predict(name, images, top=1)]
            for key, labels in load.labels.items():
                differences += labels != [expected[int(key.split()[1])]]
                count += 1
    title = "images whose label differs from that of the path by itself, in any answer"
    return [Row.of("label_differences", title, [differences], at_most=0, detail={"images": count})]


def _clients(place: Place) -> list[Row]:
    rows = []
    with Server(Start(place.folder, place.cores)) as server:
        urls = dict.fromkeys(place.names, server.url)
        for clients in CLIENTS:
            load = run_load(urls, place.images(16), clients, place.options.seconds, place.options.seed)
            milliseconds = [1000 * second for second in load.latency]
            detail = {"p50_ms": milliseconds[0], "p95_ms": milliseconds[1], "p99_ms": milliseconds[2]}
            title = f"answers per second, {clients} clients, mixed tasks; " + ", ".join(
                f"{key[:3]} {value:.0f} ms" for key, value in detail.items()
            )
            rows.append(Row.of(f"clients_{clients}", title, [load.rate], detail={**detail, "statuses": load.statuses}))
    return rows


def _mixed(place: Place) -> list[Row]:
    title = "answers per second of one process, over one process per task; 64 clients, mixed tasks"
    ratios, detail = _mixed_pairs(place, place.cores, 1)
    return [Row.of("mixed_traffic", title, ratios, at_least=2, detail=detail)]


def _mixed_defaults(place: Place) -> list[Row]:
    title = "the same where nobody sets the number of threads: every process takes all cores"
    ratios, detail = _mixed_pairs(place, None, None)
    return [Row.of("mixed_traffic_defaults", title, ratios, detail=detail)]


def _mixed_pairs(place: Place, ours: int | None, theirs: int | None) -> tuple[list[float], dict[str, list[float]]]:
    """Return how many times as many answers one process gives as one per task, and what both give per second.

    Args:
        place: Where.
        ours: Threads of the one process; ``None`` for what it has by itself.
        theirs: The same of each of the others.
    """
    images, options = place.images(16), place.options
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for pair in range(options.mixed_pairs):
        with Server(Start(place.folder, ours)) as server:
            urls = dict.fromkeys(place.names, server.url)
            rates["ours"].append(run_load(urls, images, 64, options.seconds, options.seed + pair).rate)
        servers = [Server(Start(place.folder, theirs)) for _ in place.names]
        try:
            urls = {name: server.url for name, server in zip(place.names, servers, strict=True)}
            rates["theirs"].append(run_load(urls, images, 64, options.seconds, options.seed + pair).rate)
        finally:
            for server in servers:
                server.__exit__(None, None, None)
    return [one / other for one, other in zip(rates["ours"], rates["theirs"], strict=True)], rates


def _soak(place: Place) -> list[Row]:
    folder = place.folder.with_name("soaked")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(place.folder, folder)
    images, source = place.images(16), place.tasks / place.options.names[0]
    soak = run_soak(folder, place.cores, place.names, images, source, place.options.soak, 64)
    detail = {"answered": soak.answered, "refused": soak.refused, "changes": soak.changes, "memory": soak.memory}
    failed = Row.of(
        "soak_failed",
        f"requests that failed in {place.options.soak:.0f} s at full load while tasks came and went",
        [sum(soak.failed.values())],
        at_most=0,
        detail={**detail, "statuses": soak.failed},
    )
    title, series = "growth of the memory after the warm-up", {"seconds_and_bytes": soak.series[::10]}
    return [failed, Row.of("soak_memory", title, [soak.growth], at_most=0.05, detail=series)]


MEASURES: dict[str, Callable[[Place], list[Row]]] = dict(
    zip(
        PARTS,
        (_all_tasks, _memory, _onnx, _int8, _overhead, _labels, _clients, _mixed, _mixed_defaults, _soak),
        strict=True,
    )
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    add = parser.add_argument
    add("--tasks", type=Path, required=True, metavar="FOLDER", help="a folder of Parquet files per task")
    add("--root", required=True, metavar="ROOT", help="root of the system, for instance file:PATH.safetensors")
    add("--names", nargs="+", default=list(TASKS), metavar="TASK", help="which tasks")
    add("--trained", type=int, default=3, metavar="N", help="blocks that every task trains; default: 3")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts only; the other figures stay")
    add("--pairs", type=int, default=15, metavar="N", help="pairs of measurements; default: 15")
    add("--mixed-pairs", type=int, default=3, metavar="N", help="pairs of the mixed traffic; default: 3")
    add("--images", type=int, default=64, metavar="N", help="images per task whose labels are compared; default: 64")
    add("--seconds", type=float, default=30.0, metavar="S", help="length of a run with clients; default: 30")
    add("--soak", type=float, default=600.0, metavar="S", help="length of the soak; default: 600")
    add("--seed", type=int, default=0, metavar="N", help="of all draws; default: 0")
    add("--work", type=Path, metavar="FOLDER", help="keep the system here, and use one that is there")
    add("--output", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/serving.json")
    add("--dry", action="store_true", help="write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
