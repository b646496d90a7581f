"""What this machine can do at most, and how much of it each side reaches: ``python -m benchmarks.roofline``.

A training example costs, for each slot, its forward FLOPs once where it is frozen below the lowest trainable slot, not
at all where its activation comes from the cache, twice where it is frozen above (forward, and the gradient of its
input), and three times where it trains.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import CASES, Case
from benchmarks.children import Child, chain_of, propose
from benchmarks.options import Options
from benchmarks.page import PAGE, write_page
from benchmarks.results import machine, now
from benchmarks.workplace import CPU, Workplace, make_workplace
from mu2net.core.proposal import Proposal
from mu2net.nn.attention import select_kernel
from mu2net.nn.precision import choose_precision
from mu2net.train.compute import thread_count

RESULTS = Path(__file__).parent / "results"
SIDES = (256, 512, 1024, 2048)
"""Sides of the matrices that are multiplied; the fastest counts, since one size alone may not fit the caches well."""

COPIED_BYTES = 256 * 2**20
"""Bytes of one copy, far more than the caches of a core hold."""


def best_seconds(work: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of one call among those that fit some seconds, after one that does not count."""
    work()
    best, started = float("inf"), perf_counter()
    while perf_counter() - started < seconds:
        before = perf_counter()
        work()
        best = min(best, perf_counter() - before)
    return best


def measure_peaks(seconds: float = 3.0) -> dict[str, float]:
    """Return GFLOP/s of matrix products and GB/s of a copy, on one thread and on all.

    Args:
        seconds: Time for each figure.
    """
    figures: dict[str, float] = {}
    for threads in sorted({1, torch.get_num_threads()}):
        with thread_count(threads):
            for dtype in (torch.float32, torch.bfloat16):
                name = str(dtype).removeprefix("torch.")
                figures[f"matmul_{name}_{threads}_gflops"] = _matmul_rate(dtype, seconds) / 1e9
            figures[f"copy_{threads}_gb_per_s"] = 2 * COPIED_BYTES / _copy_seconds(seconds) / 1e9
    return figures


def _matmul_rate(dtype: torch.dtype, seconds: float) -> float:
    """Return the FLOP/s of the fastest size."""
    rates = []
    for side in SIDES:
        left, right = (torch.randn(side, side).to(dtype) for _ in range(2))
        product = torch.empty(side, side, dtype=dtype)
        multiply = partial(torch.mm, left, right, out=product)
        rates.append(2 * side**3 / best_seconds(multiply, seconds / len(SIDES)))
    return max(rates)


def _copy_seconds(seconds: float) -> float:
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return best_seconds(lambda: target.copy_(source), seconds)


def slot_flops(place: Workplace, child: Child, *, is_plain: bool) -> dict[str, int]:
    """Return the FLOPs of one forward pass of every slot, batch 1.

    Args:
        place: The system.
        child: The child.
        is_plain: Whether every block computes all tokens, as in the plain loop; mu2net leaves out in the last block
            what nobody reads.
    """
    chain = chain_of(place, child.job)
    select_kernel(chain, "explicit")
    side = int(child.job.proposal.hparams["ds_image_size"])
    activation, found = torch.zeros(1, 3, side, side), {}
    with torch.no_grad():
        for index, slot in enumerate(chain.slots):
            with FlopCounterMode(display=False) as counter:
                if is_plain:
                    activation = chain.part(slot.name)(activation)
                else:
                    activation = chain.forward_range(activation, index, index + 1)
            found[slot.name] = int(counter.get_total_flops())
    return found


def training_flops(proposal: Proposal, flops: Mapping[str, int], *, is_cached: bool) -> int:
    """Return the FLOPs of one training example.

    Args:
        proposal: What trains.
        flops: FLOPs of one forward pass by slot.
        is_cached: Whether the activation below the lowest trainable slot comes from the cache.
    """
    total, is_below = 0, True
    for plan in proposal.slots:
        is_below = is_below and not plan.is_trainable
        factor = (0 if is_cached else 1) if is_below else 3 if plan.is_trainable else 2
        total += factor * flops[plan.slot.name]
    return total


def shares(place: Workplace, case: Case, row: Mapping[str, Any], peaks: Mapping[str, float]) -> dict[str, float]:
    """Return the GFLOP/s of both sides of a case in the steady state, and what share of the peaks that is.

    Args:
        place: The system.
        case: A case of runs.
        row: Its row in the results.
        peaks: What ``measure_peaks`` returned.
    """
    child = propose(place, case.agent, 1, 0, augments=False)[0]
    proposal, flops = child.job.proposal, slot_flops(place, child, is_plain=True)
    plain = training_flops(proposal, flops, is_cached=False) * row["plain_per_second"] / 1e9
    executed = slot_flops(place, child, is_plain=False)
    ours = training_flops(proposal, executed, is_cached=True) * row["ours_per_second"] / 1e9
    threads = torch.get_num_threads()
    arithmetic = choose_precision("auto", CPU)
    return {
        "mflops_forward": sum(flops.values()) / 1e6,
        "plain_gflops": plain,
        "plain_share": plain / peaks[f"matmul_float32_{threads}_gflops"],
        "ours_gflops": ours,
        "ours_share": ours / peaks[f"matmul_{arithmetic}_{threads}_gflops"],
    }


def of_this_machine(rows: Mapping[str, Mapping[str, Any]], here: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the rows that were measured on this machine's processor: only those may be compared with its peaks.

    Args:
        rows: Rows of the speed benchmark, by id.
        here: What ``machine`` returns.
    """
    return {name: row for name, row in rows.items() if row.get("processor") == here["processor"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the peaks, compare them with the figures of the speed benchmark, print and write both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--tasks", type=Path, help="as for benchmarks.speed")
    parser.add_argument("--vit", type=Path, help="as for benchmarks.speed")
    parser.add_argument("--speed", type=Path, default=RESULTS / "speed.json", help="figures of benchmarks.speed")
    parser.add_argument("--output", type=Path, default=RESULTS / "roofline.json")
    found = parser.parse_args(arguments)
    options = Options(found.tasks, found.vit)
    peaks = measure_peaks()
    for name, value in peaks.items():
        print(f"{name:32} {value:8.1f}")
    measured = json.loads(found.speed.read_text(encoding="utf-8"))["rows"] if found.speed.exists() else {}
    here = machine()
    rows = of_this_machine(measured, here)
    if elsewhere := sorted(measured.keys() - rows.keys()):
        print(f"left out, since measured on another processor than {here['processor']}: {', '.join(elsewhere)}")
    cases: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="mu2net-roofline-") as folder:
        places: dict[Any, Workplace] = {}
        for case in CASES:
            if case.id not in rows or case.kind != "runs" or options.missing(case.id):
                continue
            setting = options.setting(case.setting)
            if setting not in places:
                places[setting] = make_workplace(Path(folder) / str(len(places)), setting, options.tasks, (), 0)
            cases[case.id] = shares(places[setting], case, rows[case.id], peaks)
            print(f"{case.id:18}", "  ".join(f"{name} {value:.3g}" for name, value in cases[case.id].items()))
    content = {"figures": peaks, "machine": here, "date": now(), "cases": cases}
    found.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if found.output == RESULTS / "roofline.json" and found.speed.exists():
        write_page(PAGE, found.speed, found.output)


if __name__ == "__main__":
    main()
