"""Trains the children of a group in lock-step on shared batches.

Every batch is fetched, augmented and normalised once for all children, and the frozen slots that they share at the
bottom are computed once per batch. What a child becomes does not depend on which others are in its group.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from mu2net.data.task import TaskData
from mu2net.errors import ConfigError
from mu2net.nn.attention import AttentionKernel
from mu2net.nn.backbone import Backbone
from mu2net.nn.flops import count_flops
from mu2net.nn.precision import Precision
from mu2net.train.augment import Pipeline
from mu2net.train.batches import (
    Batch,
    Key,
    SplitName,
    SplitReader,
    TrainBatches,
    count_batches,
    evaluation_batches,
)
from mu2net.train.child import ChildJob, ChildRun, ComponentSource, ModuleFactory, TrainedChild
from mu2net.train.compute import Compute, thread_count
from mu2net.train.evaluate import EVALUATION_BATCH_SIZE
from mu2net.train.events import Observer, Phase, Reporter, StopCheck, StopSignal, TrainingStopped
from mu2net.train.prefix import ComputedPrefixes, PrefixSource


@dataclass(frozen=True)
class TrainConfig:
    """The budget of every child of a group, and how it is computed.

    Args:
        num_validations: Intervals, each followed by a validation.
        examples_per_validation: Training examples per interval at most; never more than one pass over the split.
        batch_size: Training examples per batch.
        evaluation_batch_size: Validation images per batch.
        max_validation_examples: Validation images at most, the same ones every time; ``None`` for all.
        device: Where to compute.
        precision: Arithmetic of the activations.
        attention: How attention is computed; ``None`` for the fixed rule, and where there is no attention.
        threads: Threads per operation; ``None`` for PyTorch's own number.

    Raises:
        ConfigError: A number is smaller than 1.
    """

    num_validations: int
    examples_per_validation: int
    batch_size: int = 64
    evaluation_batch_size: int = EVALUATION_BATCH_SIZE
    max_validation_examples: int | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "float32"
    attention: AttentionKernel | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        names = ("num_validations", "examples_per_validation", "batch_size", "evaluation_batch_size")
        for name in (*names, "max_validation_examples", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1")


@dataclass(frozen=True)
class TrainGroup:
    """Children that see the same batches.

    Args:
        task: The task's images.
        jobs: The children; they agree in all ``ds_*`` hyperparameters.
        config: Their budget.
        seed_key: Key of the order of the examples, of the augmentation and of new parameters.
        backbone: What their slots compute.

    Raises:
        ConfigError: There is no child, two have the same id, or their image pipelines differ.
    """

    task: TaskData
    jobs: tuple[ChildJob, ...]
    config: TrainConfig
    seed_key: Key
    backbone: Backbone

    def __post_init__(self) -> None:
        if not self.jobs:
            raise ConfigError(f"a group of task {self.task.name!r} has no children; expected at least one")
        ids = [job.id for job in self.jobs]
        if len(set(ids)) != len(ids):
            raise ConfigError(f"the children of a group need different ids; found {', '.join(ids)}")
        for job in self.jobs:
            if Pipeline.from_hparams(job.proposal.hparams) != self.pipeline:
                raise ConfigError(
                    f"children {ids[0]!r} and {job.id!r} have different image pipelines; "
                    "a group shares its batches: put them into groups of their own"
                )

    @property
    def pipeline(self) -> Pipeline:
        """The image pipeline of all children."""
        return Pipeline.from_hparams(self.jobs[0].proposal.hparams)


def train_group(
    group: TrainGroup,
    source: ComponentSource,
    *,
    prefixes: PrefixSource | None = None,
    observer: Observer | None = None,
    should_stop: StopCheck | None = None,
) -> list[TrainedChild]:
    """Train the children of a group; return them in the order of the jobs, each in its best state.

    On one device type, with one number of threads, the same arguments give the same bits.

    Args:
        group: What to train, and for how long.
        source: Where components and momentum come from.
        prefixes: Provides the activations below the trainable slots; computes them by default.
        observer: Told about batches and intervals.
        should_stop: Asked before every batch whether to go on.

    Raises:
        TrainingStopped: ``should_stop`` said ``now``.
        ConfigError: A child trains nothing, or a hyperparameter is missing.
        DataError: The training or the validation split is empty.
    """
    with thread_count(group.config.threads):
        session = _Session(group, source, prefixes or ComputedPrefixes(), Reporter(observer), should_stop)
        for interval in range(group.config.num_validations):
            session.train(interval)
            session.validate(interval)
            if interval + 1 < group.config.num_validations and not session.goes_on():
                break
        return session.results()


class _Session:
    """The state of one call of ``train_group``."""

    def __init__(
        self,
        group: TrainGroup,
        source: ComponentSource,
        prefixes: PrefixSource,
        reporter: Reporter,
        should_stop: StopCheck | None,
    ) -> None:
        self._group, self._prefixes, self._reporter, self._should_stop = group, prefixes, reporter, should_stop
        config = group.config
        compute = Compute.of(group.backbone, config.device, config.precision, config.attention)
        self._validation = SplitReader(
            "validation", group.task.validation, group.pipeline.without_augmentation(), compute
        )
        train = SplitReader("train", group.task.train, group.pipeline, compute)
        readers: dict[SplitName, SplitReader] = {"train": train, "validation": self._validation}
        key = (*group.seed_key, "batches")
        self._batches = TrainBatches(train, config.batch_size, config.examples_per_validation, key)
        steps = self._batches.steps_per_interval
        factory = ModuleFactory(group.backbone, source, config.device, group.seed_key)
        self._children: list[ChildRun] = []
        for job in group.jobs:
            self._check("prepare")
            self._children.append(ChildRun(job, factory, readers, config.num_validations * steps, steps))
            self._reporter.batch("prepare", -1, len(self._children), len(group.jobs))

    @property
    def _active(self) -> list[ChildRun]:
        """The children that still train, the one with the shortest frozen prefix first."""
        active = [child for child in self._children if child.diverged_at is None]
        return sorted(active, key=lambda child: child.prefix.depth)

    def goes_on(self) -> bool:
        """Whether another interval starts: somebody still trains, and nobody asked to stop."""
        return bool(self._active) and self._check("train") == "no"

    def train(self, interval: int) -> None:
        """Train all active children for one interval; those whose loss is not finite drop out."""
        steps = self._batches.steps_per_interval
        for done in range(steps):
            step = interval * steps + done
            batch = self._batches.batch(step)
            for child, entering in self._entering("train", batch):
                child.train_step(entering, batch, step)
                self._reporter.batch("train", interval, done, steps)
            if not self._active:
                return

    def validate(self, interval: int) -> None:
        """Validate all active children, and keep the states that are the best so far."""
        config = self._group.config
        batches = evaluation_batches(self._validation, config.evaluation_batch_size, config.max_validation_examples)
        total = count_batches(self._validation, config.evaluation_batch_size, config.max_validation_examples)
        examples, correct = 0, {child.id: 0 for child in self._active}
        for done, batch in enumerate(batches if correct else ()):
            examples += batch.size
            for child, entering in self._entering("validate", batch):
                correct[child.id] += child.count_correct(entering, batch)
                self._reporter.batch("validate", interval, done, total)
        for child in self._active:
            self._reporter.interval(child.finish_interval(correct[child.id] / examples))

    def results(self) -> list[TrainedChild]:
        """Return all children in the order of the jobs, each in its best state."""
        config = self._group.config
        extra = {
            "device": config.device.type,
            "precision": config.precision,
            "attention": config.attention,
            "threads": torch.get_num_threads(),
            "batch_size": self._batches.batch_size,
            "intervals_planned": config.num_validations,
        }
        return [child.result(self._flops(child), extra) for child in self._children]

    def _flops(self, child: ChildRun) -> int:
        components = [(slot, child.chain.part(slot.name).state_dict()) for slot in child.chain.slots]
        return count_flops(self._group.backbone, components, self._group.pipeline.image_size)

    def _entering(self, phase: Phase, batch: Batch) -> list[tuple[ChildRun, torch.Tensor]]:
        """Return the active children, each with what enters its lowest trainable slot; they share the time equally."""
        self._check(phase)
        started, active = time.perf_counter(), self._active
        entering = [(child, self._prefixes.activation(child.prefix, batch)) for child in active]
        for child in active:
            child.add_seconds((time.perf_counter() - started) / len(active), is_validation=phase == "validate")
        return entering

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
