"""Test accuracy of the same children on both sides: whether speed costs anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.children import (
    Budget,
    Child,
    chain_of,
    compute_of,
    plain_images,
    plain_training,
    propose,
    steps_per_interval,
    train,
)
from benchmarks.measure import check_same, cold_executor
from benchmarks.plain_loop import accuracy
from benchmarks.workplace import Workplace
from mu2net.train.augment import Pipeline
from mu2net.train.child import TrainedChild
from mu2net.train.evaluate import evaluate


@dataclass(frozen=True)
class Accuracies:
    """Test accuracies of one task, seed by seed, in [0, 1].

    Args:
        ours: Of mu2net.
        plain: Of the plain loop.
    """

    ours: tuple[float, ...]
    plain: tuple[float, ...]


def measure_accuracy(
    place: Workplace, agent: str, seeds: Sequence[int], intervals: int, say: Callable[[str], None]
) -> Accuracies:
    """Train the same runs on both sides and test the best state of each by validation.

    The test split is read once everything is trained.

    Args:
        place: The system.
        agent: A baseline agent.
        seeds: Seeds of the batches.
        intervals: Intervals of every run.
        say: Told what was measured.
    """
    budget = Budget(intervals)
    children = [propose(place, agent, 1, seed, augments=False)[0] for seed in seeds]
    check_same(place, children[:1])
    with cold_executor(place, augments=False) as executor:
        run = train(place, executor, children, budget)
    trainings = []
    for child in children:
        training = plain_training(place, child, budget)
        best = training.run(intervals, steps_per_interval(place, budget))
        training.network.load_state_dict(best.state)
        trainings.append(training)
        say(f"{place.data.name} {child.job.id}: validation plain {max(best.accuracies):.4f}")
    ours = tuple(_test_ours(place, child, run.results[child.job.id]) for child in children)
    test = plain_images(place, children[0], place.data.test)
    plain = tuple(accuracy(training.network, test) for training in trainings)
    say(f"{place.data.name}: test mu2net {_join(ours)}; plain {_join(plain)}")
    return Accuracies(ours, plain)


def _join(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _test_ours(place: Workplace, child: Child, trained: TrainedChild) -> float:
    pipeline = Pipeline.from_hparams(child.job.proposal.hparams)
    chain = chain_of(place, child.job, trained.tensors)
    return evaluate(chain, place.data.test, pipeline, compute_of(place), name="test").accuracy
