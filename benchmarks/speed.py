"""Compares mu2net with a plain PyTorch fine-tuning loop: ``python -m benchmarks.speed --help``."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.options import BUILT_IN_TASK, Options
from benchmarks.page import PAGE, write_page
from benchmarks.plot import draw
from benchmarks.results import Row, format_table, write_rows
from benchmarks.runner import IDS, Benchmark

RESULTS = Path(__file__).parent / "results" / "speed.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "speed.png"


def parse(arguments: Sequence[str] | None) -> tuple[Options, tuple[str, ...], Path | None]:
    """Return what the command line asks for: options, ids, and the file that gets the figures.

    A smoke run writes a file only where one is named.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--tasks", type=Path, help=f"folder of tasks as Parquet folders; default: {BUILT_IN_TASK}")
    parser.add_argument("--vit", type=Path, help="a pretrained ViT, .safetensors with timm's names, for vit_s_*")
    parser.add_argument("--only", nargs="+", choices=IDS, metavar="ID", help=f"any of: {', '.join(IDS)}")
    parser.add_argument("--quick", action="store_true", help="a smoke run on tiny networks; its figures mean nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, help="alternating runs per case")
    parser.add_argument("--intervals", type=int, help="passes over the training split per run; at least 2")
    parser.add_argument("--output", type=Path, help=f"default: {RESULTS.name} in benchmarks/results")
    found = parser.parse_args(arguments)
    options = Options(found.tasks, found.vit, found.seed, found.quick, found.pairs, found.intervals)
    ids = tuple(found.only or (name for name in IDS if options.missing(name) is None))
    for name in ids:
        if missing := options.missing(name):
            parser.error(f"{name} needs {missing}")
    return options, ids, found.output or (None if found.quick else RESULTS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for; print and write every figure as soon as it is there."""
    options, ids, output = parse(arguments)
    rows: list[Row] = []
    started = perf_counter()

    def say(text: str) -> None:
        print(f"[{perf_counter() - started:6.0f} s] {text}", flush=True)

    left_out = [name for name in IDS if name not in ids]
    say(f"measuring {', '.join(ids)}; left out: {', '.join(left_out) or 'nothing'}")
    with tempfile.TemporaryDirectory(prefix="mu2net-speed-") as folder:
        benchmark = Benchmark(options, Path(folder), say)
        for name in ids:
            found = benchmark.rows(name)
            rows += found
            if output is not None:
                write_rows(output, found)
    print(format_table(rows))
    if output == RESULTS:
        draw(RESULTS, PICTURE)
        write_page(PAGE, RESULTS, RESULTS.with_name("roofline.json"))


if __name__ == "__main__":
    main()
