"""Measures figures by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import measure_accuracy
from benchmarks.cases import ACCURACY_CASES, CASES, VIT_TINY, AccuracyCase, Case
from benchmarks.children import pipeline_of
from benchmarks.measure import END_TO_END_INTERVALS, measure_case
from benchmarks.memory import peak_of_mu2net, peak_of_plain_loop
from benchmarks.options import Options
from benchmarks.predictions import measure_serving
from benchmarks.results import Row
from benchmarks.spread import Comparison, Pair, Spread
from benchmarks.workplace import Setting, Workplace, make_workplace
from mu2net.nn.roots import load_root

SERVING = {"serve_1": 1, "serve_64": 64}
"""Batch sizes of predictions, by id."""

ACCURACY = {case.id: case for case in ACCURACY_CASES}
"""What accuracy is compared for, by id."""

IDS = (*(case.id for case in CASES), *SERVING, "memory", *ACCURACY)
"""Everything that can be measured."""

_MEMORY_TARGET = 1.3
_VIT_TINY = Setting(VIT_TINY, "cifar10", 2048)


class Benchmark:
    """Measures figures by id; a system is made once for every setting.

    Args:
        options: What was asked for.
        folder: Where systems are made.
        say: Told about progress.
    """

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        self._options, self._folder, self._say = options, folder, say
        self._places: dict[Setting, tuple[Path, Workplace]] = {}

    def rows(self, name: str) -> list[Row]:
        """Return the rows that belong to one of ``IDS``."""
        if name == "memory":
            return [self._memory()]
        if name in ACCURACY:
            return self._accuracy(ACCURACY[name])
        if name in SERVING:
            return [self._serving(name, SERVING[name])]
        return self._case(self._options.case(next(case for case in CASES if case.id == name)))

    def _place(self, setting: Setting) -> tuple[Path, Workplace]:
        if setting not in self._places:
            folder = self._folder / str(len(self._places))
            backbone = load_root(setting.root, image_size=setting.image_size).backbone
            pipelines = tuple(pipeline_of(backbone, augments=augments) for augments in (False, True))
            place = make_workplace(folder, setting, self._options.tasks, pipelines, self._options.seed)
            self._places[setting] = folder, place
        return self._places[setting]

    def _case(self, case: Case) -> list[Row]:
        pairs = measure_case(case, self._place(case.setting)[1], self._options.seed, self._say)
        detail = {
            "root": case.setting.root,
            "task": case.setting.task,
            "agent": case.agent,
            "intervals": case.intervals,
            "is_quick": self._options.is_quick,
            **_rates(pairs),
        }
        steady, whole = [pair.steady for pair in pairs], [pair.end_to_end for pair in pairs]
        if case.kind == "generation":
            title = f"{case.title}: {case.intervals} passes and validations, from an empty cache"
            again = f"{case.title}: the same once more, from a full cache"
            row = Row.of(case.id, title, whole, at_least=case.target, detail=detail)
            return [row, Row.of(f"{case.id}_warm", again, steady, detail=detail)]
        passes = min(case.intervals, END_TO_END_INTERVALS)
        title = f"{case.title}: training after the first pass"
        end = f"{case.title}: {passes} passes and validations, from an empty cache"
        row = Row.of(case.id, title, steady, at_least=case.target, detail=detail)
        return [row, Row.of(f"{case.id}_end_to_end", end, whole, detail=detail)]

    def _serving(self, name: str, batch_size: int) -> Row:
        place = self._place(self._options.setting(_VIT_TINY))[1]
        quick = self._options.is_quick
        count, seconds = (1, 0.1) if quick else (self._options.pairs or 7, 2.0)
        pairs = measure_serving(place, batch_size, count, self._options.seed, seconds)
        title = f"ViT-Tiny 32/4, prediction in batches of {batch_size}"
        return Row.of(name, title, [pair.steady for pair in pairs], detail=_rates(pairs))

    def _memory(self) -> Row:
        folder, place = self._place(self._options.setting(_VIT_TINY))
        seed, ratios, peaks = self._options.seed, [], []
        for number in range(1 if self._options.is_quick else self._options.pairs or 3):
            plain = peak_of_plain_loop(place, seed, folder / f"plain-{number}")
            ours = peak_of_mu2net(folder, place.data.name, seed)
            ratios.append(ours / plain)
            peaks.append({"plain": plain, "ours": ours})
            self._say(f"memory: plain {plain / 2**20:,.0f} MiB, mu2net {ours / 2**20:,.0f} MiB = {ratios[-1]:.2f}x")
        title = "ViT-Tiny 32/4, generation of 8: peak memory, over the plain loop's"
        return Row.of("memory", title, ratios, at_most=_MEMORY_TARGET, detail={"peak_bytes": peaks})

    def _accuracy(self, case: AccuracyCase) -> list[Row]:
        quick = self._options.is_quick
        seeds, intervals = (range(2), 1) if quick else (range(case.seeds), case.intervals)
        found = {}
        for setting in case.settings:
            place = self._place(self._options.setting(setting))[1]
            found[setting.task] = measure_accuracy(place, case.agent, seeds, intervals, self._say)
        ours, plain = (_means([getattr(task, side) for task in found.values()]) for side in ("ours", "plain"))
        compared = Comparison.of(ours, plain)
        detail = {
            "tasks": {name: {"ours": task.ours, "plain": task.plain} for name, task in found.items()},
            "standard_error_of_difference": compared.error,
            "standard_error_of_paired_difference": compared.paired_error,
        }
        return [
            _mean_row(
                f"{case.id}_mu2net", f"{case.title}: test accuracy of mu2net", compared.ours, compared.ours_error
            ),
            _mean_row(
                f"{case.id}_plain",
                f"{case.title}: test accuracy of the plain loop",
                compared.plain,
                compared.plain_error,
            ),
            Row(
                case.id,
                f"{case.title}: difference of the two; low to high is one standard error around 0",
                compared.difference,
                -compared.error,
                compared.error,
                "± 1 se",
                compared.is_equal,
                detail,
            ),
        ]


def _mean_row(name: str, title: str, mean: float, error: float) -> Row:
    return Row(name, f"{title}; low to high is one standard error around the mean", mean, mean - error, mean + error)


def _means(values: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over tasks, seed by seed."""
    return [sum(column) / len(column) for column in zip(*values, strict=True)]


def _rates(pairs: Sequence[Pair]) -> dict[str, Any]:
    names = {"plain_per_second": "plain", "ours_per_second": "ours"}
    names |= {"plain_seconds": "plain_seconds", "ours_seconds": "ours_seconds"}
    medians = {name: Spread.of([getattr(pair, field) for pair in pairs]).median for name, field in names.items()}
    return {**medians, "foreign_load": [pair.foreign_load for pair in pairs]}
