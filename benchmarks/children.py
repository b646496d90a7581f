"""The children that are measured: proposed by real agents, trained by mu2net, or rebuilt for the plain loop.

All contact with how mu2net trains is in this module and in ``workplace``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from benchmarks.plain_loop import Batch, Images, Loader, PlainTraining, Recipe, ShuffledLoader
from benchmarks.plain_networks import PlainVit, freeze_all_but, plain_lite0
from benchmarks.workplace import CPU, Workplace
from mu2net.core.agents import make_agent
from mu2net.core.path import Value
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.core.rng import generator
from mu2net.core.score import Scoring
from mu2net.data.task import Int64Array, Split
from mu2net.nn.backbone import Backbone, Tensors
from mu2net.nn.chain import Chain, build_chain
from mu2net.nn.precision import choose_precision
from mu2net.nn.vit import Vit
from mu2net.search.executor import Executor
from mu2net.train.augment import Pipeline
from mu2net.train.batches import Key, SplitReader, TrainBatches
from mu2net.train.child import ChildJob, TrainedChild
from mu2net.train.compute import Compute
from mu2net.train.events import Event, IntervalDone
from mu2net.train.group import TrainConfig, TrainGroup
from mu2net.train.schedule import learning_rate

BATCH_SIZE = 64
"""Images per training step, mu2net's default."""


@dataclass(frozen=True)
class Budget:
    """What every child trains.

    Args:
        intervals: Intervals, each followed by a validation.
        examples: Training examples of an interval at most; ``None`` for one pass.
        threads: Threads of each worker.
        precision: Arithmetic; ``auto`` for what a user gets.
    """

    intervals: int
    examples: int | None = None
    threads: int = 1
    precision: str = "auto"


@dataclass(frozen=True)
class Child:
    """A child and the key of its batches."""

    job: ChildJob
    key: Key


def image_hparams(*, augments: bool) -> dict[str, Value]:
    """Return the ``ds_*`` values that differ from an agent's own: none with the default augmentation."""
    return {} if augments else {"ds_crop": False, "ds_flip_left_right": False}


def pipeline_of(backbone: Backbone, *, augments: bool) -> Pipeline:
    """Return the image pipeline of the children that ``propose`` returns."""
    return Pipeline.from_hparams(_hparams("finetune", backbone, augments=augments))


def _hparams(agent: str, backbone: Backbone, *, augments: bool) -> Mapping[str, Value]:
    scoring = Scoring(backbone.anatomy.num_params, backbone.anatomy.flops, 1.0, 1.0)
    return make_agent(agent, backbone.anatomy, scoring, image_hparams(augments=augments)).space.defaults()


def propose(place: Workplace, agent: str, count: int, seed: int, *, augments: bool) -> list[Child]:
    """Return the first children that an agent proposes for the task.

    The image pipeline keeps its starting values, and ``mu`` its default of 0.2. Children of an evolving agent are one
    generation and see the same batches; runs of a baseline are equal but for the seed of their batches.

    Args:
        place: The system.
        agent: Name of the agent.
        count: Number of children.
        seed: Seed of the draws.
        augments: Whether training images are augmented, in the default way.
    """
    anatomy = place.backbone.anatomy
    names = [name for name in _hparams(agent, place.backbone, augments=augments) if name.startswith("ds_")]
    fixed = (*names, "mu")
    scoring = Scoring(anatomy.num_params, anatomy.flops, 1.0, 1.0)
    policy = make_agent(agent, anatomy, scoring, image_hparams(augments=augments), fixed)
    population = Population.start(place.data.name, place.store.root(), ())
    population = policy.begin(population, generator("benchmark", seed, "begin"))
    proposals = policy.propose(population, generator("benchmark", seed), count)
    classes = len(place.data.classes)
    key: Key = ("benchmark", seed)
    return [
        Child(ChildJob(f"{agent}-{seed}-{number}", proposal, classes), (*key, number) if policy.is_baseline else key)
        for number, proposal in enumerate(proposals)
    ]


def steps_per_interval(place: Workplace, budget: Budget) -> int:
    """Return the whole batches of an interval."""
    examples = min(budget.examples or len(place.data.train), len(place.data.train))
    return examples // min(BATCH_SIZE, examples)


@dataclass
class Mu2NetRun:
    """What mu2net did with some children.

    Args:
        seconds: From the order to the last result.
        intervals: Of every child, its finished intervals, each with the seconds since the order.
        results: The trained children.
    """

    seconds: float = 0.0
    intervals: dict[str, list[tuple[float, IntervalDone]]] = field(default_factory=dict)
    results: dict[str, TrainedChild] = field(default_factory=dict)


def train(place: Workplace, executor: Executor, children: Sequence[Child], budget: Budget) -> Mu2NetRun:
    """Train children as a cycle does; those with one key are one group.

    Args:
        place: The system.
        executor: Where they train.
        children: The children.
        budget: What each trains.
    """
    config = _train_config(place, budget)
    keys = list(dict.fromkeys(child.key for child in children))
    jobs = {key: tuple(child.job for child in children if child.key == key) for key in keys}
    groups = [TrainGroup(place.data, jobs[key], config, key, place.backbone) for key in keys]
    run, started = Mu2NetRun(), time.perf_counter()

    def observe(event: Event) -> None:
        if isinstance(event, IntervalDone):
            run.intervals.setdefault(event.child, []).append((time.perf_counter() - started, event))

    run.results = {child.id: child for child in executor.submit(groups, observe, lambda: "no")}
    run.seconds = time.perf_counter() - started
    return run


def _train_config(place: Workplace, budget: Budget) -> TrainConfig:
    return TrainConfig(
        num_validations=budget.intervals,
        examples_per_validation=budget.examples or len(place.data.train),
        batch_size=BATCH_SIZE,
        device=CPU,
        precision=choose_precision(budget.precision, CPU),
        attention=place.attention if budget.precision == "auto" else None,
        threads=budget.threads,
    )


def plain_training(place: Workplace, child: Child, budget: Budget) -> PlainTraining:
    """Return the plain loop for the same child: same parameters, same batches, same learning rates.

    Args:
        place: The system.
        child: The child.
        budget: What it trains.
    """
    hparams, steps = child.job.proposal.hparams, steps_per_interval(place, budget)
    schedule, peak = str(hparams["opt_lr_schedule"]), float(hparams["opt_lr"])
    warmup = float(hparams["opt_lr_warmup_ratio"])
    recipe = Recipe(
        momentum=float(hparams["opt_momentum"]),
        is_nesterov=bool(hparams["opt_nesterov"]),
        lr_at=lambda step: learning_rate(schedule, peak, warmup, step, budget.intervals * steps, steps),
    )
    network = plain_network(place, child.job)
    return PlainTraining(network, _loader(place, child), plain_images(place, child, place.data.validation), recipe)


def plain_images(place: Workplace, child: Child, split: Split) -> Images:
    """Return a split in memory, at the child's input size."""
    side = Pipeline.from_hparams(child.job.proposal.hparams).image_size
    normalisation = place.backbone.normalisation
    pixels = split.pixels(side)[np.arange(len(split))]
    return Images(pixels, split.labels, normalisation.mean, normalisation.std)


def _loader(place: Workplace, child: Child) -> Loader:
    """Return the batches that the child sees in mu2net.

    Without augmentation the images come from memory; with it, from the same augmentation that mu2net trains on.
    """
    pipeline = Pipeline.from_hparams(child.job.proposal.hparams)
    compute = Compute.of(place.backbone, CPU, "float32")
    reader = SplitReader("train", place.data.train, pipeline, compute)
    batches = TrainBatches(reader, BATCH_SIZE, (*child.key, "batches"))
    if not pipeline.is_deterministic:
        return _AugmentedLoader(batches)

    def order(step: int) -> Int64Array:
        return batches.batch(step).indices

    return ShuffledLoader(plain_images(place, child, place.data.train), order)


@dataclass(frozen=True)
class _AugmentedLoader:
    batches: TrainBatches

    def batch(self, step: int) -> Batch:
        batch = self.batches.batch(step)
        return batch.inputs.contiguous(), batch.labels


def plain_network(place: Workplace, job: ChildJob) -> nn.Module:
    """Return the plain network of a child, with exactly its parameters that train."""
    state: Tensors = {}
    trainable: set[str] = set()
    for plan in job.proposal.slots:
        tensors = _renamed(place.backbone, plan, _tensors(place, job, plan))
        state |= tensors
        if plan.is_trainable:
            trainable |= tensors.keys()
    network = _network_of(place.backbone, job.proposal, state)
    freeze_all_but(network, trainable)
    return network


def _network_of(backbone: Backbone, proposal: Proposal, state: Tensors) -> nn.Module:
    if isinstance(backbone, Vit):
        return PlainVit(state, backbone.heads, backbone.eps)
    return plain_lite0(state, int(proposal.hparams["ds_image_size"]))


def _tensors(place: Workplace, job: ChildJob, plan: SlotPlan) -> Tensors:
    """Return what a child starts with in a slot; a new head is zero."""
    if plan.digest is not None and plan.action in ("share", "clone"):
        return place.store.load(plan.digest)
    if plan.slot.kind == "head":
        return place.backbone.fresh(plan.slot, 0, num_classes=job.num_classes)
    raise ValueError(f"slot {plan.slot.name!r}: the plain loop knows no {plan.action!r} but that of a head")


_LITE0_PARTS = {
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project": "_project_conv",
    "project_bn": "_bn2",
}
_LITE0_ENDS = {"stem": {"conv": "_conv_stem", "bn": "_bn0"}, "conv_head": {"conv": "_conv_head", "bn": "_bn1"}}


def _renamed(backbone: Backbone, plan: SlotPlan, tensors: Tensors) -> Tensors:
    """Return a slot's tensors by the names of the plain network."""
    slot = plan.slot
    if isinstance(backbone, Vit):
        if slot.kind == "tokens":
            return tensors
        prefix = f"blocks.{int(slot.name.removeprefix('block_'))}" if slot.kind == "block" else slot.name
        return {f"{prefix}.{name}": value for name, value in tensors.items()}
    if slot.kind == "head":
        return {f"_fc.{name}": value for name, value in tensors.items()}
    is_block = slot.kind == "block"
    parts = _LITE0_PARTS if is_block else _LITE0_ENDS[slot.name]
    prefix = f"_blocks.{int(slot.name.removeprefix('block_'))}." if is_block else ""
    pairs = ((name.partition("."), value) for name, value in tensors.items())
    return {f"{prefix}{parts[part]}.{leaf}": value for (part, _, leaf), value in pairs}


def chain_of(place: Workplace, job: ChildJob, trained: Mapping[str, Tensors] | None = None) -> Chain:
    """Return mu2net's network of a child.

    Args:
        place: The system.
        job: The child.
        trained: Its slots after training; those before training by default.
    """
    parts = [
        (plan.slot, (trained or {}).get(plan.slot.name) or _tensors(place, job, plan)) for plan in job.proposal.slots
    ]
    return build_chain(place.backbone, parts)


def compute_of(place: Workplace) -> Compute:
    """Return the arithmetic in which mu2net's networks run here."""
    return Compute.of(place.backbone, CPU, choose_precision("auto", CPU), place.attention)


@torch.no_grad()
def logit_difference(place: Workplace, job: ChildJob, count: int = 8) -> float:
    """Return the largest difference between the two networks' float32 logits, for a head with random weights.

    Args:
        place: The system.
        job: The child, before training.
        count: Number of images.
    """
    chain, network = chain_of(place, job), plain_network(place, job)
    child = Child(job, ())
    inputs, _ = plain_images(place, child, place.data.validation).take(slice(0, count))
    head = next(module for module in reversed(list(network.modules())) if isinstance(module, nn.Linear))
    weight = torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(0)) * head.in_features**-0.5
    head.weight.copy_(weight)
    chain.part("head").weight.copy_(weight)  # type: ignore[operator]
    return float((chain(inputs) - network(inputs)).abs().max())
