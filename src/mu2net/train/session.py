"""Trains the children of a group in lock-step on shared batches, each for as long as it was given.

Every batch is fetched, augmented and normalised once for all children, and the frozen slots that they share at the
bottom are computed once per batch, or never again where their activations are kept. What a child becomes does not
depend on which others are in its group, nor on what was kept.
"""

from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce

import torch

from mu2net.nn.flops import count_flops
from mu2net.train.batches import (
    Batch,
    SplitReader,
    TrainBatches,
    count_batches,
    evaluation_batches,
    evaluation_indices,
)
from mu2net.train.child import ChildRun, ComponentSource, ModuleFactory, TrainedChild
from mu2net.train.compute import Compute, thread_count
from mu2net.train.events import Observer, Phase, Reporter, StopCheck, StopSignal, TrainingStopped
from mu2net.train.group import TrainGroup
from mu2net.train.learner import Turn
from mu2net.train.length import Length
from mu2net.train.pace import Measured, Pace, share_filling
from mu2net.train.prefix import Prefixes
from mu2net.train.team import make_children

STATISTICS_IMAGES = 512
"""Training images whose statistics batch norms take, about: estimates of means need no more."""


def train_group(
    group: TrainGroup,
    source: ComponentSource,
    *,
    prefixes: Prefixes | None = None,
    observer: Observer | None = None,
    should_stop: StopCheck | None = None,
) -> list[TrainedChild]:
    """Train the children of a group; return them in the order of the jobs, each in its best state.

    On one device type, with one number of threads and with children of a given number of examples, the same arguments
    give the same bits.

    Args:
        group: What to train, and for how long.
        source: Where components and momentum come from.
        prefixes: Provides the activations below the trainable slots; by default nothing is kept beyond a batch.
        observer: Told about batches and intervals.
        should_stop: Asked before every batch whether to go on.

    Raises:
        TrainingStopped: ``should_stop`` said ``now``.
        ConfigError: A child trains nothing, or a hyperparameter is missing.
        DataError: The training or the validation split is empty.
    """
    with thread_count(group.config.threads):
        session = _Session(group, source, prefixes, Reporter(observer), should_stop)
        session.run()
        return session.results()


class _Session:
    """The state of one call of ``train_group``."""

    def __init__(
        self,
        group: TrainGroup,
        source: ComponentSource,
        prefixes: Prefixes | None,
        reporter: Reporter,
        should_stop: StopCheck | None,
    ) -> None:
        self._group, self._reporter, self._should_stop = group, reporter, should_stop
        self._prefixes = prefixes or Prefixes(rounding=group.config.rounding)
        config, pipeline = group.config, group.pipeline
        compute = Compute.of(group.backbone, config.device, config.precision, config.attention)
        train = SplitReader("train", group.task.train, pipeline, compute, group.views)
        self._validation = SplitReader("validation", group.task.validation, pipeline.without_augmentation(), compute)
        batch_size = min(config.batch_size, config.examples_per_validation)
        # Groups of one cycle see the same images first, where they may not see all: what one computed the next finds.
        pool_key = (*group.seed_key[:3], "images") if config.passes > 1 else None
        self._batches = TrainBatches(train, batch_size, (*group.seed_key, "batches"), pool_key)
        factory = ModuleFactory(group.backbone, source, config.device, group.seed_key)
        self._check("prepare")
        self._reporter.batch("prepare", -1, 0, len(group.jobs))
        self._children = make_children(group.jobs, factory, {"train": train, "validation": self._validation})
        self._prefixes.plan([child.prefix for child in self._children], keeps_shared=config.is_comparison)

    def run(self) -> None:
        """Train all children to their ends, or until somebody asks to stop."""
        self._measure_statistics()
        self._set_lengths()
        step = 0
        while active := self._active:
            self._train(active, step)
            ending = [child for child in active if not child.is_finished and child.length.ends_interval(step)]
            if ending:
                self._validate(ending)
                if any(not child.is_finished for child in ending) and self._check("train") != "no":
                    for child in ending:
                        child.is_finished = True
            step += 1

    @property
    def _active(self) -> list[ChildRun]:
        """The children that still train, the one with the shortest frozen prefix first."""
        return sorted((child for child in self._children if not child.is_finished), key=lambda it: it.prefix.depth)

    def _measure_statistics(self) -> None:
        """Let the batch norms of children that ask for it use the statistics of the first training batches."""
        for child in self._children:
            if not (child.measures_statistics and child.chain.measured):
                continue
            self._check("prepare")
            started = time.perf_counter()
            number = -(-STATISTICS_IMAGES // self._batches.batch_size)
            batches = [self._batches.batch(step) for step in range(number)]
            entering = torch.cat([self._prefixes.activation(child.prefix, batch) for batch in batches])
            child.chain.measure_statistics(entering, child.prefix.depth)
            child.add_seconds(time.perf_counter() - started)

    def _set_lengths(self) -> None:
        """Give every child the same number of examples, or as many as fit its seconds.

        Children that are compared all get the same number.
        """
        config, batch_size = self._group.config, self._batches.batch_size
        examples = min(config.examples_per_validation, len(self._group.task.train))
        given = Length(config.num_validations, examples // batch_size)
        if config.seconds is not None and not config.is_comparison:
            self._fit_lengths(config.seconds)
            return
        if config.seconds is not None:
            given = self._pace.common_length(self._children, config.seconds * len(self._children))
        for child in self._children:
            child.length = given

    def _fit_lengths(self, seconds: float) -> None:
        """Measure the children, choose the images that they see, and how long each of them trains.

        Children that do the same work are measured once and get the same length: nothing but their hyperparameters
        tells them apart. What several trunks share is computed once, so all children divide the time for trunks.

        Args:
            seconds: Seconds of every child.
        """
        children = sorted(self._children, key=lambda child: child.prefix.depth)
        works = [(child.prefix.key("train"), *child.shapes) for child in children]
        companions = Counter(works)
        sharers = Counter(child.prefix.key("train") for child in children)
        measured: dict[tuple[object, ...], Measured] = {}
        for number, (child, work) in enumerate(zip(children, works, strict=True)):
            self._check("prepare")
            if work not in measured:
                sharing = sharers[child.prefix.key("train")]
                below = [other for other in children[:number] if child.prefix.contains(other.prefix)]
                its_seconds = seconds - child.spent_seconds
                measured[work] = self._pace.measure(child, its_seconds, sharing, companions[work], below)
            self._reporter.batch("prepare", -1, number + 1, len(children))
        costs = share_filling([measured[work] for work in works])
        images = self._pace.num_images(reduce(operator.add, costs))
        if images < self._batches.num_images:
            per_batch = sum(cost.step.fill_seconds for cost in costs)
            images, spent = self._fill(children, images, per_batch * images / self._batches.batch_size)
            self._batches = self._batches.limited(images)
            costs = [
                replace(cost, step=replace(cost.step, num_missing=0), seconds=cost.seconds - spent) for cost in costs
            ]
        for child, cost in zip(children, costs, strict=True):
            child.length = self._pace.length(cost)

    def _fill(self, children: Sequence[ChildRun], images: int, seconds: float) -> tuple[int, float]:
        """Compute what enters the trained slots for the images that will be seen, before anybody plans with them.

        Where it takes longer than was measured there are fewer images, and not fewer passes over them.

        Args:
            children: The children, those with the shortest frozen prefix first.
            images: How many, in whole batches.
            seconds: The time for it.

        Returns:
            How many images there are, and the seconds that each child is charged for.
        """
        started, size = time.perf_counter(), self._batches.batch_size
        done = 0
        while done < images and (done == 0 or time.perf_counter() - started < seconds):
            self._check("prepare")
            batch = self._batches.batch(done // size)
            for child in children:
                self._prefixes.activation(child.prefix, batch)
            done += size
        spent = (time.perf_counter() - started) / len(children)
        for child in children:
            child.add_seconds(spent)
        return done, spent

    @property
    def _pace(self) -> Pace:
        return Pace(self._group.config, self._batches, self._validation, self._prefixes)

    def _train(self, active: Sequence[ChildRun], step: int) -> None:
        """Train some children on one batch; those whose loss is not finite drop out."""
        batch, longest = self._batches.batch(step), max(active, key=lambda child: child.length.total_steps).length
        for members, turns in self._turns("train", active, batch, step):
            started = time.perf_counter()
            losses = members[0].learner.step(turns, batch.labels)
            for child, turn, loss in zip(members, turns, losses, strict=True):
                child.finish_step(step, loss, batch.size, turn.lr)
                child.add_seconds((time.perf_counter() - started) / len(members))
        interval, done = divmod(step, longest.steps_per_interval)
        self._reporter.batch("train", interval, done, longest.steps_per_interval)

    def _validate(self, children: Sequence[ChildRun]) -> None:
        """Validate some children, and keep the states that are the best so far."""
        config = self._group.config
        arguments = self._validation, config.evaluation_batch_size, config.max_validation_examples
        total, examples, correct = count_batches(*arguments), 0, dict.fromkeys((child.id for child in children), 0)
        for done, batch in enumerate(evaluation_batches(*arguments)):
            examples += batch.size
            for members, turns in self._turns("validate", children, batch):
                started = time.perf_counter()
                found = members[0].learner.count_correct(turns, batch)
                for child, number in zip(members, found, strict=True):
                    correct[child.id] += number
                    child.add_seconds((time.perf_counter() - started) / len(members), is_validation=True)
            self._reporter.batch("validate", children[0].num_validated, done, total)
        for child in children:
            self._reporter.interval(child.finish_interval(correct[child.id] / examples))

    def _turns(
        self, phase: Phase, children: Sequence[ChildRun], batch: Batch, step: int | None = None
    ) -> Iterator[tuple[list[ChildRun], list[Turn]]]:
        """Yield the children of every learner, with what enters their trainable slots; all share the time for it."""
        self._check(phase)
        started = time.perf_counter()
        turns: dict[int, tuple[list[ChildRun], list[Turn]]] = {}
        for child in children:
            entering = self._prefixes.activation(child.prefix, batch)
            members, theirs = turns.setdefault(id(child.learner), ([], []))
            members.append(child)
            theirs.append(Turn(child.place, entering, 0.0 if step is None else child.lr(step), batch.key))
        for child in children:
            child.add_seconds((time.perf_counter() - started) / len(children), is_validation=phase == "validate")
        yield from turns.values()

    def results(self) -> list[TrainedChild]:
        """Return all children in the order of the jobs, each in its best state."""
        config = self._group.config
        extra = {
            "device": config.device.type,
            "precision": config.precision,
            "attention": config.attention,
            "threads": torch.get_num_threads(),
            "batch_size": self._batches.batch_size,
            "train_images": self._batches.num_images,
            "validated": len(evaluation_indices(self._validation, config.max_validation_examples)),
            "views": 0 if self._group.pipeline.is_deterministic else config.views,
            "rounding": config.rounding,
        }
        return [child.result(self._flops(child), extra) for child in self._children]

    def _flops(self, child: ChildRun) -> int:
        components = [(slot, child.chain.part(slot.name).state_dict()) for slot in child.chain.slots]
        return count_flops(self._group.backbone, components, self._group.pipeline.image_size)

    def _check(self, phase: Phase) -> StopSignal:
        """Return what ``should_stop`` says.

        Raises:
            TrainingStopped: It says ``now``.
        """
        signal: StopSignal = "no" if self._should_stop is None else self._should_stop()
        if signal == "now":
            raise TrainingStopped(
                f"training of {len(self._group.jobs)} children of task {self._group.task.name!r} was stopped at once "
                f"({phase}) and is lost; what was recorded before is safe"
            )
        return signal
