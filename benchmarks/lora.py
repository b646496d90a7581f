"""A LoRA baseline: a task learned from a vision transformer through Hugging Face's ``peft``, as a practitioner would.

The task, its splits, the images and the arithmetic are those of mu2net; what trains, and how, is in ``lora_training``.
The learning rate is chosen on the validation split: a short trial of each of ``LEARNING_RATES``, then the rest of the
budget with the best, from the start again. The test split is read once, at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from torch import nn

from benchmarks.lora_training import Cost, LoraTraining, Run, adapt, plain_vit, trainable, with_head
from benchmarks.workplace import CPU
from mu2net.core.anatomy import HEAD
from mu2net.core.path import Value
from mu2net.core.space import mu2net_space
from mu2net.data.load import LoadedTask, load_task
from mu2net.data.source import TaskSource
from mu2net.errors import BudgetError, ConfigError
from mu2net.nn.backbone import Backbone
from mu2net.nn.flops import count_flops, count_parameters
from mu2net.nn.precision import choose_precision
from mu2net.nn.roots import Root, load_root
from mu2net.nn.vit import NORM, Vit
from mu2net.search.config import check_seed
from mu2net.search.images import CACHE_NAME
from mu2net.train.augment import Pipeline, train_side
from mu2net.train.compute import Compute, thread_count
from mu2net.train.evaluate import EVALUATION_BATCH_SIZE, evaluate

LEARNING_RATES = (5e-4, 2e-3, 5e-3)
"""Peaks that are tried, of mu2net's list: LoRA wants about ten times what full fine-tuning with AdamW wants."""

TRIAL_SHARE = 0.09
"""Share of the budget that the trial of one learning rate takes."""

MAX_VALIDATIONS = 8
"""Validations of the final run at most."""


@dataclass(frozen=True)
class LoraResult:
    """What LoRA reached on a task.

    Args:
        test: Accuracy on the test split, in [0, 1], of the state that was the best on the validation split.
        num_test: Images of the test split.
        validation: The best accuracy on the validation split in the final run, in [0, 1].
        added_params: Parameters that were trained: LoRA, final norm and head.
        flops: FLOPs of one forward pass with the updates merged into the weights, as mu2net counts them.
        seconds: Seconds of preparation, trials, final run and validations; without decoding and the test.
        examples: Training examples of trials and final run together.
        lr: The peak learning rate that was chosen.
    """

    test: float
    num_test: int
    validation: float
    added_params: int
    flops: int
    seconds: float
    examples: int
    lr: float


def run_lora(
    root: str,
    task_source: Path,
    work: Path,
    *,
    rank: int,
    seconds: float | None,
    examples: int | None,
    seed: int,
    image_size: int | None,
    hparams: Mapping[str, Value],
) -> LoraResult:
    """Train LoRA on a task with one thread, and test it.

    The bits are the same for equal arguments where the budget is a number of examples.

    Args:
        root: A vision transformer, named as for ``System.create``.
        task_source: What ``System.add_task`` takes.
        work: Folder for decoded images; may be deleted at any time.
        rank: Rank of the updates.
        seconds: Seconds of trials and final run together, from the moment at which the images are decoded.
        examples: Training examples of trials and final run together; exactly one of the two is given.
        seed: Seed of the root where it is random, of the updates and of the batches.
        image_size: Default side of the root's input, in pixels; the root's own by default.
        hparams: Image pipeline where it differs from mu2net's; names that do not start with ``ds_`` are not read.

    Raises:
        BudgetError: The budget is too small.
        ConfigError: The root is no vision transformer, or an option is not possible.
        DataError: The task cannot be used.
        RootError: The root cannot be read, or does not fit the image size.
    """
    _check(rank, seconds, examples, seed)
    loaded = load_root(root, image_size=image_size, seed=seed)
    if not isinstance(loaded.backbone, Vit):
        raise ConfigError(
            f"root {root!r} is convolutional; LoRA is put on the linear layers of a vision transformer: "
            "give one, for instance file:PATH.safetensors or vit:dim=192,depth=3,heads=3,patch=4,image=32"
        )
    pipeline = pipeline_of(loaded.backbone, hparams)
    compute = Compute.of(loaded.backbone, CPU, choose_precision("auto", CPU))
    task = _load(task_source, work, pipeline)
    with thread_count(1):
        started = time.perf_counter()
        network = plain_vit(loaded, len(task.classes), pipeline.image_size)
        clock = None if seconds is None else time.perf_counter
        training = LoraTraining(adapt(network, rank, seed), task, pipeline, compute, clock)
        total, start = (float(examples or 0), 0.0) if seconds is None else (seconds, started)
        lr, final = search(training, seed, total, start + total)
        took = time.perf_counter() - started
        training.restore(final.state)
        added = added_parameters(training.model, loaded, len(task.classes))
        merged = merge(training.model)
        size = min(EVALUATION_BATCH_SIZE, len(task.test))
        test = evaluate(merged, task.test, pipeline, compute, name="test", batch_size=size).accuracy
    parts = with_head(loaded, len(task.classes), pipeline.image_size)
    flops = count_flops(loaded.backbone, parts, pipeline.image_size)
    return LoraResult(test, len(task.test), max(final.accuracies), added, flops, took, training.examples, lr)


def _check(rank: int, seconds: float | None, examples: int | None, seed: int) -> None:
    check_seed(seed)
    if rank < 1:
        raise ConfigError(f"rank is {rank}; expected at least 1")
    given = [budget for budget in (seconds, examples) if budget is not None]
    if len(given) != 1:
        raise ConfigError(f"seconds is {seconds} and examples is {examples}; give exactly one of the two")
    if not (given[0] > 0 and math.isfinite(given[0])):
        raise ConfigError(f"the budget is {given[0]}; expected a positive number")


def pipeline_of(backbone: Backbone, hparams: Mapping[str, Value]) -> Pipeline:
    """Return mu2net's image pipeline, with other values where they are given.

    Args:
        backbone: Gives the sizes.
        hparams: Values by name; those that do not start with ``ds_`` are not read.

    Raises:
        RangeError: A value is not in its list.
        UnknownNameError: There is no such ``ds_*`` hyperparameter.
    """
    changes = {name: value for name, value in hparams.items() if name.startswith("ds_")}
    return Pipeline.from_hparams(mu2net_space(backbone.anatomy).with_defaults(changes).defaults())


def _load(source: Path, work: Path, pipeline: Pipeline) -> LoadedTask:
    """Return a task as ``System.add_task`` reads it, with all images decoded that will be read."""
    task = load_task(TaskSource(name="task", source=str(source)).pinned(), work / CACHE_NAME)
    task.train.pixels(train_side(pipeline, task.train))
    for split in (task.validation, task.test):
        split.pixels(pipeline.image_size)
    return task


def search(training: LoraTraining, seed: int, total: float, end: float) -> tuple[float, Run]:
    """Return the learning rate that was the best in a short trial, and the run with it in the rest of the budget.

    All trials see the same batches and validate on the same images.

    Args:
        training: What is trained.
        seed: Seed of the batches.
        total: The whole budget.
        end: What ``training.spent`` says when it is spent.

    Raises:
        BudgetError: A trial would not hold a step and a validation.
    """
    cost, allowance = training.measure(), TRIAL_SHARE * total
    _check_budget(training, total, cost)
    images = training.trial_images(allowance, cost)
    trials: dict[float, Run] = {}
    for lr in LEARNING_RATES:
        trials[lr] = training.run(lr, ("lora", seed, "trial"), allowance, cost, 1, images)
        cost = trials[lr].cost
    best = max(trials, key=lambda lr: trials[lr].quality)
    rest = end - training.spent()
    return best, training.run(best, ("lora", seed, "final"), rest, cost, MAX_VALIDATIONS)


def _check_budget(training: LoraTraining, total: float, cost: Cost) -> None:
    smallest = (cost.step + cost.image * min(training.num_validated, EVALUATION_BATCH_SIZE)) / TRIAL_SHARE
    if total < smallest:
        unit = "training examples" if training.clock is None else "seconds"
        raise BudgetError(
            f"a budget of {total:g} {unit} is too small for LoRA: the trial of a learning rate gets {TRIAL_SHARE:.0%} "
            f"of it, and must hold one step of {training.batch_size} images and one validation; give at least "
            f"{math.ceil(smallest)} {unit}"
        )


def added_parameters(model: PeftModel, root: Root, num_classes: int) -> int:
    """Return how many parameters a task adds: LoRA, and norm and head as mu2net counts them.

    Args:
        model: The network with LoRA.
        root: What it was made from.
        num_classes: Number of classes.
    """
    backbone = root.backbone
    lora = sum(parameter.numel() for name, parameter in trainable(model).items() if ".lora_" in name)
    norm = count_parameters(backbone, NORM, dict(root.components)[NORM])
    return lora + norm + count_parameters(backbone, HEAD, backbone.fresh(HEAD, 0, num_classes=num_classes))


def merge(model: PeftModel) -> nn.Module:
    """Return the plain network into whose weights the updates are merged; the network with LoRA is used up.

    Args:
        model: The network with LoRA.
    """
    merged: nn.Module = model.merge_and_unload()
    return merged
