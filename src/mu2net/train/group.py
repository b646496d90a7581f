"""What is trained together: children that see the same batches, and what each of them may spend."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mu2net.data.task import TaskData
from mu2net.errors import ConfigError
from mu2net.nn.attention import AttentionKernel
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import Precision
from mu2net.train.augment import Pipeline
from mu2net.train.batches import Key, Views
from mu2net.train.child import ChildJob
from mu2net.train.evaluate import EVALUATION_BATCH_SIZE
from mu2net.train.prefix import Rounding


@dataclass(frozen=True)
class TrainConfig:
    """The budget of every child of a group, and how it is computed.

    Args:
        num_validations: Intervals, each followed by a validation; at most, where ``seconds`` are given.
        examples_per_validation: Training examples per interval: never more than one pass over the split, except where
            ``seconds`` are given; there it is a bound.
        batch_size: Training examples per batch.
        evaluation_batch_size: Validation images per batch.
        max_validation_examples: Validation images at most, the same ones every time; ``None`` for all.
        seconds: Seconds of every child, which trains on as many examples as fit; a child that trains few slots sees
            more of them. ``None`` for equal numbers of examples.
        is_comparison: Whether children with ``seconds`` get equal numbers of examples all the same, as many as fit the
            seconds of all together; activations where their networks part are kept for children to come.
        passes: Passes over the training images that are seen, at least, where ``seconds`` are given and an image that
            comes again costs far less than a new one: fewer images are seen then, more often. 1 for no such bound.
        views: Augmented views per image that are drawn once and kept; 0 to augment anew in every epoch.
        rounding: Whether activations that enter the trainable slots are rounded.
        device: Where to compute.
        precision: Arithmetic of the activations.
        attention: How attention is computed; ``None`` for the fixed rule, and where there is no attention.
        threads: Threads per operation; ``None`` for PyTorch's own number.

    Raises:
        ConfigError: A number is smaller than 1, or ``views`` than 0.
    """

    num_validations: int
    examples_per_validation: int
    batch_size: int = 64
    evaluation_batch_size: int = EVALUATION_BATCH_SIZE
    max_validation_examples: int | None = None
    seconds: float | None = None
    is_comparison: bool = False
    passes: int = 1
    views: int = 0
    rounding: Rounding = "exact"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = "float32"
    attention: AttentionKernel | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        names = ("num_validations", "examples_per_validation", "batch_size", "evaluation_batch_size", "passes")
        for name in (*names, "max_validation_examples", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1")
        if self.views < 0:
            raise ConfigError(f"views is {self.views}; expected 0, for none, or more")


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

    @property
    def views(self) -> Views | None:
        """The pool of views of the training images; the same for all groups of a task under one system seed."""
        return Views(self.config.views, (*self.seed_key[:2], "views")) if self.config.views else None
