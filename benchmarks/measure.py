"""Runs a case: the plain loop and mu2net in turn, on the same children."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

from benchmarks.cases import GENERATION, Case
from benchmarks.children import (
    BATCH_SIZE,
    Budget,
    Child,
    Mu2NetRun,
    logit_difference,
    plain_training,
    propose,
    steps_per_interval,
    train,
)
from benchmarks.load import ForeignLoad
from benchmarks.spread import Pair
from benchmarks.workplace import Workplace
from mu2net.search.executor import ProcessExecutor, default_workers

TOLERANCE = 1e-4
"""Largest difference of float32 logits between the two networks of a child."""

END_TO_END_INTERVALS = 5
"""Intervals of a run that count from start to end, at most."""

_WARM_UP_STEPS = 2


@dataclass(frozen=True)
class PlainSample:
    """What the plain loop takes for one child.

    Args:
        rate: Training examples per second.
        validation_seconds: Seconds of one validation.
    """

    rate: float
    validation_seconds: float


def measure_case(case: Case, place: Workplace, seed: int, say: Callable[[str], None]) -> list[Pair]:
    """Return the pairs of a case.

    Args:
        case: What to measure.
        place: Where.
        seed: Seed of all draws.
        say: Told what was measured.

    Raises:
        ValueError: The two sides do not compute the same.
    """
    workers = default_workers()
    count = GENERATION if case.kind == "generation" else workers
    children = propose(place, case.agent, count, seed, augments=case.augments)
    check_same(place, children)
    measure_pair = _generation_pair if case.kind == "generation" else _runs_pair
    pairs = []
    for number in range(case.pairs):
        load = ForeignLoad()
        pair = replace(measure_pair(case, place, children, number), foreign_load=load.share())
        pairs.append(pair)
        say(
            f"{case.id} {number + 1}/{case.pairs}: plain {pair.plain:,.0f}/s, mu2net {pair.ours:,.0f}/s = "
            f"{pair.steady:.2f}x; from an empty cache {pair.plain_seconds:.1f} s / {pair.ours_seconds:.1f} s = "
            f"{pair.end_to_end:.2f}x{_describe(pair.foreign_load)}"
        )
    return pairs


def _describe(load: float | None) -> str:
    return "" if load is None else f" (other programs used {load:.0%} of the machine)"


def check_same(place: Workplace, children: Sequence[Child]) -> None:
    """Check that both sides compute the same function of the same parameters.

    Raises:
        ValueError: They do not.
    """
    for child in children:
        difference = logit_difference(place, child.job)
        if not difference <= TOLERANCE:
            raise ValueError(f"child {child.job.id!r}: logits differ by {difference:.2g}; expected {TOLERANCE} at most")


def plain_sample(place: Workplace, child: Child, budget: Budget, steps: int) -> PlainSample:
    """Time some steps and one validation of the plain loop, after a few steps that do not count."""
    training = plain_training(place, child, budget)
    last = min(_WARM_UP_STEPS + steps, budget.intervals * steps_per_interval(place, budget))
    training.train(0, _WARM_UP_STEPS)
    seconds = training.train(_WARM_UP_STEPS, last)
    started = perf_counter()
    training.validate()
    return PlainSample((last - _WARM_UP_STEPS) * BATCH_SIZE / seconds, perf_counter() - started)


@contextmanager
def cold_executor(place: Workplace, *, augments: bool) -> Iterator[ProcessExecutor]:
    """Start workers on an empty cache and let them train a little, as a cycle does when it measures speed.

    What they train first has no frozen slots, so it leaves nothing in the cache.
    """
    place.forget_training()
    workers = default_workers()
    with ProcessExecutor(place.store, place.data.name, workers) as executor:
        children = propose(place, "finetune", workers, -1, augments=augments)
        train(place, executor, children, Budget(1, 2 * BATCH_SIZE))
        yield executor


def _runs_pair(case: Case, place: Workplace, children: Sequence[Child], number: int) -> Pair:
    budget = Budget(case.intervals, case.examples)
    plain = plain_sample(place, children[number % len(children)], budget, case.plain_steps)
    with cold_executor(place, augments=case.augments) as executor:
        run = train(place, executor, children, budget)
    intervals = min(case.intervals, END_TO_END_INTERVALS)
    examples = steps_per_interval(place, budget) * BATCH_SIZE
    plain_seconds = len(children) * intervals * (examples / plain.rate + plain.validation_seconds)
    ours_seconds = max(done[intervals - 1][0] for done in run.intervals.values())
    return Pair(plain.rate, steady_rate(run, default_workers()), plain_seconds, ours_seconds)


def _generation_pair(case: Case, place: Workplace, children: Sequence[Child], number: int) -> Pair:  # noqa: ARG001
    budget = Budget(case.intervals, case.examples)
    samples = [plain_sample(place, child, budget, case.plain_steps) for child in children]
    with cold_executor(place, augments=case.augments) as executor:
        cold = train(place, executor, children, budget)
        warm = train(place, executor, children, budget)
    examples = steps_per_interval(place, budget) * BATCH_SIZE
    plain_seconds = sum(case.intervals * (examples / s.rate + s.validation_seconds) for s in samples)
    total = len(children) * case.intervals * examples
    return Pair(total / plain_seconds, total / warm.seconds, plain_seconds, cold.seconds)


def steady_rate(run: Mu2NetRun, workers: int) -> float:
    """Return the training examples per second of all children together, after their first interval.

    Validation is left out, everything else that happens between two intervals counts. Every worker must have had as
    many children as the others.

    Args:
        run: A run of at least two intervals.
        workers: Number of workers.
    """
    windows, validation, examples = [], 0.0, 0
    for done in run.intervals.values():
        windows.append(done[-1][0] - done[0][0])
        validation += sum(event.validation_seconds for _, event in done[1:])
        examples += sum(event.examples for _, event in done[1:])
    busy = workers * sum(windows) / len(windows) - validation
    return workers * examples / busy
