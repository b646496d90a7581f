"""One child in training: its network, its optimiser, its best state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from mu2net.core.component import Digest, Slot
from mu2net.core.path import Metrics
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.core.rng import seed_of
from mu2net.errors import ConfigError
from mu2net.nn.backbone import Backbone, Tensors
from mu2net.nn.chain import Chain
from mu2net.train.batches import Key
from mu2net.train.events import IntervalDone
from mu2net.train.learner import Learner, State
from mu2net.train.length import Length
from mu2net.train.prefix import Prefix
from mu2net.train.schedule import learning_rate


class ComponentSource(Protocol):
    """Where components and their momentum come from."""

    def load(self, digest: Digest) -> Tensors:
        """Return the tensors of a component; they are never written to."""
        ...

    def momentum(self, digest: Digest) -> Tensors | None:
        """Return the momentum that a component was stored with, by parameter name; ``None`` where there is none."""
        ...


@dataclass(frozen=True)
class ChildJob:
    """A child that is to be trained.

    Args:
        id: Id of the path that it will become.
        proposal: What every slot does, and the hyperparameters.
        num_classes: Classes of the task.
    """

    id: str
    proposal: Proposal
    num_classes: int


@dataclass(frozen=True)
class TrainedChild:
    """A child after training, in the state of its best validation.

    Args:
        id: Id of the child.
        tensors: Parameters and buffers of every trained slot, by slot name; contiguous float32 on the CPU.
        momentum: Momentum buffers of every trained slot, by slot and parameter name; likewise.
        metrics: What was measured.
    """

    id: str
    tensors: Mapping[str, Tensors]
    momentum: Mapping[str, Tensors]
    metrics: Metrics


class ModuleFactory:
    """Makes the modules of a group's children; a frozen component is loaded once for all of them.

    Args:
        backbone: What slots compute.
        source: Where components come from.
        device: Where they run.
        seed_key: Key of the random parameters of new components.
    """

    def __init__(self, backbone: Backbone, source: ComponentSource, device: torch.device, seed_key: Key) -> None:
        self.backbone, self._source, self._device, self._seed_key = backbone, source, device, seed_key
        self._frozen: dict[tuple[str, Digest], nn.Module] = {}

    def chain(self, job: ChildJob) -> Chain:
        """Return the network of a child, with exactly its trainable slots set to train."""
        plans = job.proposal.slots
        modules = [(plan.slot, self._module(job, plan)) for plan in plans]
        chain = Chain(modules, channels_last=self.backbone.is_convolutional)
        chain.set_trainable([plan.slot.name for plan in plans if plan.is_trainable])
        return chain

    def momentum(self, job: ChildJob) -> dict[str, Tensors]:
        """Return the momentum that a child inherits, by slot: that of its clones, where its agent inherits any."""
        if not job.proposal.inherits_momentum:
            return {}
        clones = [plan for plan in job.proposal.slots if plan.action == "clone"]
        found = {plan.slot.name: self._source.momentum(_digest(plan)) for plan in clones}
        return {slot: tensors for slot, tensors in found.items() if tensors is not None}

    def _module(self, job: ChildJob, plan: SlotPlan) -> nn.Module:
        if plan.action == "share":
            key = (plan.slot.name, _digest(plan))
            if key not in self._frozen:
                self._frozen[key] = self._build(plan.slot, self._source.load(key[1]), copy=False)
            return self._frozen[key]
        if plan.action == "fresh":
            return self._build(plan.slot, self._fresh(job, plan.slot), copy=False)
        tensors = self._source.load(_digest(plan))
        if plan.action == "resample":
            tensors = self.backbone.resample(plan.slot, tensors, int(job.proposal.hparams["ds_image_size"]))
        return self._build(plan.slot, tensors, copy=True)

    def _fresh(self, job: ChildJob, slot: Slot) -> Tensors:
        seed = seed_of(*self._seed_key, job.id, "fresh", slot.name) % 2**63
        adapter_dim = int(job.proposal.hparams["adapter_dim"]) if slot.kind == "adapter" else 0
        return self.backbone.fresh(slot, seed, num_classes=job.num_classes, adapter_dim=adapter_dim)

    def _build(self, slot: Slot, tensors: Mapping[str, torch.Tensor], *, copy: bool) -> nn.Module:
        own = {name: value.to(self._device, copy=copy) for name, value in tensors.items()}
        return self.backbone.module(slot, own)


def frozen_digests(job: ChildJob, chain: Chain) -> list[tuple[str, Digest]]:
    """Return names and digests of the frozen slots at the bottom of a child's chain."""
    return [(plan.slot.name, _digest(plan)) for plan in job.proposal.slots[: chain.frozen_prefix]]


def _digest(plan: SlotPlan) -> Digest:
    if plan.digest is None:
        raise ConfigError(f"slot {plan.slot.name!r}: action {plan.action!r} needs the digest of a component")
    return plan.digest


@dataclass
class _Interval:
    """What happened since the last validation."""

    losses: list[float] = field(default_factory=list)
    examples: int = 0
    lr: float = 0.0
    seconds: float = 0.0
    validation_seconds: float = 0.0


class ChildRun:
    """A child while it is trained: what it did, and its best state.

    Args:
        job: What to train.
        chain: Its network, with its trainable slots set.
        prefix: The frozen slots below them.
        learner: Trains its slots, and perhaps those of other children.
        place: Its place among them.
    """

    def __init__(self, job: ChildJob, chain: Chain, prefix: Prefix, learner: Learner, place: int = 0) -> None:
        self.id, self._hparams = job.id, job.proposal.hparams
        self.measures_statistics = job.proposal.measures_statistics
        self.chain, self.prefix, self.learner, self.place = chain, prefix, learner, place
        self.length = Length(1, 1)
        self.is_finished = False
        self._interval = _Interval()
        self.diverged_at: int | None = None
        self._examples, self._seconds = 0, 0.0
        self._validations: list[float] = []
        self._losses: list[float] = []
        self._best: State | None = None
        self._best_interval: int | None = None

    @property
    def shapes(self) -> tuple[tuple[str, bool, tuple[torch.Size, ...]], ...]:
        """For every slot above the prefix: its name, whether it trains, and the shapes of its parameters."""
        trained = self.chain.trainable
        return tuple(
            (slot.name, slot in trained, tuple(one.shape for one in self.chain.part(slot.name).parameters()))
            for slot in self.chain.slots[self.prefix.depth :]
        )

    def lr(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 over all intervals."""
        return learning_rate(
            str(self._hparams["opt_lr_schedule"]),
            float(self._hparams["opt_lr"]),
            float(self._hparams["opt_lr_warmup_ratio"]),
            step,
            self.length.total_steps,
            self.length.steps_per_interval,
        )

    def finish_step(self, step: int, loss: float | None, examples: int, lr: float) -> None:
        """Take note of a step; a loss or gradient that was not finite ends the child's training.

        Args:
            step: The step, counted from 0 over all intervals.
            loss: Mean loss of the batch; ``None`` where the step was not taken.
            examples: Examples of the batch.
            lr: Learning rate of the step.
        """
        self._interval.lr = lr
        if loss is None:
            self.diverged_at, self.is_finished = step, True
        else:
            self._interval.losses.append(loss)
            self._interval.examples += examples

    def add_seconds(self, seconds: float, *, is_validation: bool = False) -> None:
        """Charge the child for some of the group's time."""
        self._interval.seconds += seconds
        self._interval.validation_seconds += seconds if is_validation else 0.0

    @property
    def spent_seconds(self) -> float:
        """Seconds that the child was charged for so far."""
        return self._seconds + self._interval.seconds

    def finish_interval(self, accuracy: float) -> IntervalDone:
        """Keep the state if its accuracy is better than all before, and begin a new interval.

        Of equal accuracies the first wins: a later state must be strictly better.

        Args:
            accuracy: Accuracy on the validation split, in [0, 1].
        """
        if accuracy > self.quality or self._best is None:
            self._best, self._best_interval = self.learner.state(self.place), len(self._validations)
        done, number = self._interval, len(self._validations)
        loss = math.fsum(done.losses) / max(len(done.losses), 1)
        self._validations.append(accuracy)
        self._losses.append(loss)
        self._close_interval()
        self.is_finished = self.num_validated >= self.length.num_validations
        return IntervalDone(
            self.id, number, accuracy, loss, done.examples, done.lr, done.seconds, done.validation_seconds
        )

    def _close_interval(self) -> None:
        self._examples += self._interval.examples
        self._seconds += self._interval.seconds
        self._interval = _Interval()

    @property
    def num_validated(self) -> int:
        """How many intervals are finished."""
        return len(self._validations)

    @property
    def quality(self) -> float:
        """Best accuracy so far, in [0, 1]."""
        return max(self._validations, default=0.0)

    def result(self, flops: int, extra: Mapping[str, Any]) -> TrainedChild:
        """Return the child in the state of its best validation; without any, in its last finite or averaged state.

        Args:
            flops: FLOPs of one forward pass, batch 1.
            extra: More to keep in the metrics.
        """
        self._close_interval()
        state = self._best or self.learner.state(self.place)
        metrics = Metrics(
            quality=self.quality,
            flops=flops,
            validations=tuple(self._validations),
            examples=self._examples,
            seconds=self._seconds,
            extra={
                **extra,
                "intervals_planned": self.length.num_validations,
                "steps_per_interval": self.length.steps_per_interval,
                "intervals_completed": len(self._validations),
                "best_interval": self._best_interval,
                "train_loss": list(self._losses),
                "diverged_at_step": self.diverged_at,
                "frozen_slots": self.prefix.depth,
            },
        )
        return TrainedChild(self.id, state.tensors, state.momentum, metrics)
