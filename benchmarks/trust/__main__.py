"""``make bench-trust``: measures what ``docs/format.md`` promises, and writes ``benchmarks/results/trust.json``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import machine
from benchmarks.trust.concurrency import run_together
from benchmarks.trust.corruption import inject
from benchmarks.trust.coverage import measure_coverage
from benchmarks.trust.kills import kill_many
from benchmarks.trust.mutation import measure_mutation
from benchmarks.trust.timing import publication_seconds, verify_rates

RESULTS = Path(__file__).parents[1] / "results" / "trust.json"
PARTS = ("corruption", "kills", "publish", "verify", "together", "coverage", "mutation")
AIMS = {
    "paths_lost": "0",
    "groups_redone": "<= 1",
    "corruption_found": "1.0",
    "publish_p99_ms": "<= 25",
    "verify_gib_s": ">= 1",
    "branch_coverage": "1.0",
    "mutation_score": ">= 0.85",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that were asked for; return 1 where a promise was broken.

    Args:
        arguments: The command line; that of the process by default.
    """
    options = _parser().parse_args(arguments)
    output: Path = options.output
    known: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {"figures": {}, "details": {}}
    figures, details = known["figures"], known["details"]
    folder = Path(tempfile.mkdtemp(prefix="mu2net-trust-", dir=options.work))
    is_broken = False
    try:
        if "corruption" in options.only:
            is_broken |= _corruption(folder, options, figures, details)
        if "kills" in options.only:
            is_broken |= _kills(folder, options, figures, details)
        if "publish" in options.only:
            milliseconds = 1000 * publication_seconds(folder / "publish", options.publications)
            figures["publish_p99_ms"] = float(np.percentile(milliseconds, 99))
            details["publish_ms"] = {"median": float(np.median(milliseconds)), "count": len(milliseconds)}
        if "verify" in options.only:
            rates = verify_rates(folder / "verify", options.gib)
            figures["verify_gib_s"] = rates.median
            details["verify_gib_s"] = {"low": rates.low, "high": rates.high, "gib": options.gib}
        if "coverage" in options.only:
            covered = measure_coverage(folder)
            figures["branch_coverage"], details["coverage"] = covered.share, vars(covered)
        if "mutation" in options.only:
            _mutation(options.mutants or folder / "mutation", options, figures, details)
        if "together" in options.only:
            is_broken |= _together(folder, options, details)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name in sorted(figures, key=list(AIMS).index):
        print(f"{name:18} {figures[name]:<10.4g} aim {AIMS[name]}")
    if not options.dry:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        details["measured"] = {**details.get("measured", {}), **dict.fromkeys(options.only, date)}
        output.write_text(json.dumps({"figures": figures, "details": details, "machine": machine()}, indent=2) + "\n")
    return int(is_broken)


def _corruption(folder: Path, options: argparse.Namespace, figures: dict[str, Any], details: dict[str, Any]) -> bool:
    found = inject(folder / "corruption", options.corruptions, options.seed, _ticker("injections", 1000))
    figures["corruption_found"] = found.share
    details["corruption"] = {
        "count": found.count,
        "by_kind": {f"{kind} {what}": number for (kind, what), number in sorted(found.by_kind.items())},
        "missed": [str(injection) for injection in found.missed[:20]],
        "crashes": [f"{injection}: {error}" for injection, error in found.crashes[:20]],
    }
    for line in (*details["corruption"]["missed"], *details["corruption"]["crashes"]):
        print(f"NOT FOUND {line}")
    return found.share < 1.0


def _kills(folder: Path, options: argparse.Namespace, figures: dict[str, Any], details: dict[str, Any]) -> bool:
    (folder / "kills").mkdir()
    killed = kill_many(folder / "kills", options.kills, options.seed, _ticker("kills", 50))
    figures["paths_lost"], figures["groups_redone"] = killed.paths_lost, killed.groups_redone
    details["kills"] = vars(killed)
    print(killed)
    return bool(killed.paths_lost or killed.damages or killed.differences or killed.groups_redone > 1)


def _mutation(folder: Path, options: argparse.Namespace, figures: dict[str, Any], details: dict[str, Any]) -> None:
    mutated = measure_mutation(folder, options.mutations, options.seed)
    low, high = mutated.interval()
    figures["mutation_score"] = mutated.score
    details["mutation"] = {**vars(mutated), "low": low, "high": high, "seed": options.seed}
    for name in mutated.unnoticed:
        print(f"UNNOTICED {name}")


def _together(folder: Path, options: argparse.Namespace, details: dict[str, Any]) -> bool:
    together = run_together(folder / "together", options.processes, options.each)
    details["together"] = {"processes": options.processes, "each": options.each, **vars(together)}
    print(together)
    return not together.is_sound


def _ticker(what: str, every: int) -> Any:
    def tell(done: int) -> None:
        if done % every == 0:
            print(f"{done} {what}", flush=True)

    return tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts only; the other figures stay")
    add("--kills", type=int, default=1000, metavar="N", help="processes to kill; default: 1000")
    add("--corruptions", type=int, default=10_000, metavar="N", help="damages to inject; default: 10000")
    add("--publications", type=int, default=500, metavar="N", help="publications to time; default: 500")
    add("--processes", type=int, default=8, metavar="N", help="processes that publish at once; default: 8")
    add("--each", type=int, default=500, metavar="N", help="publications of each; default: 500")
    add("--mutations", type=int, default=300, metavar="N", help="changes of the program to try; default: 300")
    add("--mutants", type=Path, metavar="FOLDER", help="keep them here, and go on with what is known of them")
    add("--gib", type=float, default=1.0, metavar="GIB", help="size of the system that is read; default: 1")
    add("--seed", type=int, default=0, metavar="N", help="of all draws; default: 0")
    add(
        "--work",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="where systems are made; the temporary folder by default",
    )
    add("--output", type=Path, default=RESULTS, metavar="FILE", help="default: benchmarks/results/trust.json")
    add("--dry", action="store_true", help="write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
