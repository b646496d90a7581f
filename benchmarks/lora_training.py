"""LoRA (arXiv 2106.09685) on a vision transformer through Hugging Face's ``peft``: the network, and how it is trained.

AdamW, a learning rate that warms up and then falls along half a cosine, clipped gradients, a validation after every
interval whose best state is kept. Images, batches, normalisation and validation are mu2net's own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn import functional as F

from benchmarks.plain_networks import PlainVit
from mu2net.core.anatomy import HEAD
from mu2net.core.component import Slot
from mu2net.core.rng import seed_of
from mu2net.data.task import TaskData
from mu2net.nn.backbone import Tensors
from mu2net.nn.precision import autocast
from mu2net.nn.roots import Root
from mu2net.nn.vit import TOKENS, Vit
from mu2net.search.config import MAX_VALIDATION_EXAMPLES
from mu2net.train.augment import Pipeline
from mu2net.train.batches import Batch, Key, SplitReader, TrainBatches
from mu2net.train.compute import Compute
from mu2net.train.evaluate import EVALUATION_BATCH_SIZE, Evaluation, evaluate
from mu2net.train.length import VALIDATION_SHARE, Length, StepCost, fit_length
from mu2net.train.optimizer import MAX_GRADIENT_NORM
from mu2net.train.schedule import learning_rate

BATCH_SIZE = 64
"""Images per training step, mu2net's default."""

ADAPTED_LAYERS = r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(fc1|fc2))"
"""All linear layers of all blocks.

On attention alone LoRA learns less, also with as many parameters, while MLPs are most of what a block can do ("LoRA
Without Regret", Schulman et al. 2025; arXiv 2305.14314). The patch embedding, a convolution, stays as it is.
"""

WHOLE_LAYERS = ("norm", "head")
"""What trains as a whole: the final norm, which every child of mu2net trains too, and the classifier."""

ALPHA_PER_RANK = 2
"""``lora_alpha / rank``, the factor of the update."""

WARMUP_RATIO = 0.1
"""Share of a run in which the learning rate rises."""

WEIGHT_DECAY = 0.01
"""AdamW's, on matrices; biases and norms do not decay."""

_SCHEDULE_STEPS = 100_000
"""Resolution of the schedule; a run's place in it is its share of the budget, whatever that is counted in."""


Clock = Callable[[], float]
"""Returns the seconds since some moment."""


class _Float32Head(nn.Linear):
    """A classifier whose logits are float32 also under autocast, as those of mu2net."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name in nn.Linear
        with autocast(input.device, "float32"):
            return F.linear(input.float(), self.weight, self.bias)


def plain_vit(root: Root, num_classes: int, image_size: int) -> PlainVit:
    """Return the plain network of a root, with a head of zeros.

    Args:
        root: A vision transformer.
        num_classes: Number of classes.
        image_size: Side of the input, in pixels; the position embedding is resampled to it.
    """
    assert isinstance(root.backbone, Vit)
    state: Tensors = {}
    for slot, tensors in with_head(root, num_classes, image_size):
        state |= _renamed(slot, tensors)
        if slot.kind == "block" and not root.backbone.qkv_bias:
            state[f"{_prefix(slot)}attn.qkv.bias"] = torch.zeros(3 * root.backbone.dim)
    network = PlainVit(state, root.backbone.heads, root.backbone.eps)
    head = _Float32Head(root.backbone.dim, num_classes)
    head.load_state_dict(network.head.state_dict())
    network.head = head
    return network


def with_head(root: Root, num_classes: int, image_size: int) -> list[tuple[Slot, Tensors]]:
    """Return a root's components at an input size, and a head of zeros.

    Args:
        root: A vision transformer.
        num_classes: Number of classes.
        image_size: Side of the input, in pixels.
    """
    backbone = root.backbone
    sized = [
        (slot, backbone.resample(slot, tensors, image_size) if slot == TOKENS else tensors)
        for slot, tensors in root.components
    ]
    return [*sized, (HEAD, backbone.fresh(HEAD, 0, num_classes=num_classes))]


def _prefix(slot: Slot) -> str:
    """Return what timm puts in front of the names of a slot's parameters."""
    if slot.kind == "tokens":
        return ""
    return f"blocks.{int(slot.name.removeprefix('block_'))}." if slot.kind == "block" else f"{slot.name}."


def _renamed(slot: Slot, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {f"{_prefix(slot)}{name}": value for name, value in tensors.items()}


def adapt(network: nn.Module, rank: int, seed: int) -> PeftModel:
    """Put LoRA on a plain vision transformer; it computes the same until it is trained.

    Args:
        network: The network, which becomes part of the result.
        rank: Rank of the updates.
        seed: Seed of their random halves.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=ALPHA_PER_RANK * rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=ADAPTED_LAYERS,
        modules_to_save=list(WHOLE_LAYERS),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("lora", seed, "init") % 2**63)
        model = get_peft_model(network, config)
    assert isinstance(model, PeftModel)
    return model


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that train, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@dataclass(frozen=True)
class Cost:
    """What training costs, in the unit of the budget.

    Args:
        step: Of a training step.
        image: Of a validated image.
    """

    step: float
    image: float


@dataclass(frozen=True)
class Run:
    """What one training from the start gave.

    Args:
        accuracies: Validation accuracy after each interval, in [0, 1].
        losses: Mean cross-entropy at the same times.
        state: The parameters that train, as they were at the best validation; of equal ones the first.
        cost: What it cost.
    """

    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    state: Tensors
    cost: Cost

    @property
    def quality(self) -> tuple[float, float]:
        """By what runs are compared: the best accuracy, and of equal ones the smaller last loss."""
        return max(self.accuracies), -self.losses[-1]


class LoraTraining:
    """Trains a network again and again from the same start.

    Args:
        model: The network with LoRA.
        task: The images.
        pipeline: What happens to them.
        compute: The arithmetic.
        clock: Tells the time where budgets are seconds; ``None`` where they are training examples.
    """

    def __init__(
        self, model: PeftModel, task: TaskData, pipeline: Pipeline, compute: Compute, clock: Clock | None
    ) -> None:
        self.model, self.clock, self.examples = model, clock, 0
        self._task, self._pipeline, self._compute = task, pipeline, compute
        self._parameters = trainable(model)
        self._start = self.state()
        self.num_validated = min(len(task.validation), MAX_VALIDATION_EXAMPLES)
        self.batch_size = min(BATCH_SIZE, len(task.train))

    def state(self) -> Tensors:
        """Return copies of the parameters that train."""
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put the parameters that train back to what they were."""
        for name, parameter in self._parameters.items():
            parameter.copy_(state[name])

    def spent(self) -> float:
        """Return what was spent since some moment, in the unit of the budget."""
        return float(self.examples) if self.clock is None else self.clock()

    def measure(self) -> Cost:
        """Return what steps and validations cost; a few are tried, which trains nothing.

        Everything is tried twice, and the second time counts: the first pays for what is set up once.
        """
        if self.clock is None:
            return Cost(float(self.batch_size), 0.0)
        images, examples = min(self.num_validated, EVALUATION_BATCH_SIZE), self.examples
        for _ in range(2):
            attempt = self._attempt(0.0, ("lora", "cost"))
            attempt.step(0.0)
            attempt.validate(images)
        self.examples = examples
        return attempt.result().cost

    def run(self, lr: float, key: Key, allowance: float, cost: Cost, most: int, images: int | None = None) -> Run:
        """Train from the start for some share of the budget, validate on the way, and return the best state.

        As many validations are made as fit a quarter of the allowance. The learning rate follows what is spent, so it
        is down to nothing when the allowance is, however fast the machine is meanwhile.

        Args:
            lr: Peak learning rate.
            key: Key of the order of the images and of their augmentation.
            allowance: What may be spent, validations included, in the unit of the budget.
            cost: What steps and validations are expected to cost.
            most: Validations at most.
            images: Images of a validation; ``None`` for all that mu2net validates on.
        """
        end = self.spent() + allowance
        images = images or self.num_validated
        checking = cost.image * images
        longest = Length(most, sys.maxsize)
        count = fit_length(allowance, StepCost(cost.step), StepCost(checking), longest).num_validations
        attempt = self._attempt(lr, key)
        for left in range(count, 0, -1):
            whole = attempt.trained + max(end - self.spent() - left * checking, cost.step)
            attempt.train(whole * (count - left + 1) / count, whole, cost.step)
            attempt.validate(images)
        return attempt.result()

    def trial_images(self, allowance: float, cost: Cost) -> int:
        """Return how many images a trial validates on: so many that they take a quarter of it, but one batch at least.

        Args:
            allowance: What the trial may spend.
            cost: What a validated image is expected to cost.
        """
        fitting = int(VALIDATION_SHARE * allowance / cost.image) if cost.image > 0 else self.num_validated
        return min(max(fitting, EVALUATION_BATCH_SIZE), self.num_validated)

    def step(self, optimizer: torch.optim.Optimizer, batch: Batch, lr: float) -> None:
        """Take one step; none where the loss or the gradient is not finite, so parameters are finite at all times."""
        self.examples += batch.size
        with self._compute.arithmetic():
            loss = F.cross_entropy(self.model(batch.inputs), batch.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(list(self._parameters.values()), MAX_GRADIENT_NORM)
        if bool(torch.isfinite(loss)) and bool(torch.isfinite(norm)):
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()

    def validate(self, images: int) -> Evaluation:
        """Return the logits of some images of the validation split, the same ones every time."""
        size = min(EVALUATION_BATCH_SIZE, images)
        arguments = self.model, self._task.validation, self._pipeline, self._compute
        return evaluate(*arguments, batch_size=size, max_examples=images)

    def _attempt(self, lr: float, key: Key) -> _Attempt:
        self.restore(self._start)
        parameters = list(self._parameters.values())
        groups = [
            {"params": [parameter for parameter in parameters if parameter.dim() > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [parameter for parameter in parameters if parameter.dim() <= 1], "weight_decay": 0.0},
        ]
        reader = SplitReader("train", self._task.train, self._pipeline, self._compute)
        batches = TrainBatches(reader, BATCH_SIZE, (*key, "batches"))
        return _Attempt(self, lr, torch.optim.AdamW(groups, lr=0.0, fused=True), batches)


class _Attempt:
    """One run on its way.

    Args:
        training: What is trained.
        lr: Peak learning rate.
        optimizer: The optimiser, new.
        batches: The training batches.
    """

    def __init__(
        self, training: LoraTraining, lr: float, optimizer: torch.optim.Optimizer, batches: TrainBatches
    ) -> None:
        self._training, self._lr, self._optimizer, self._batches = training, lr, optimizer, batches
        self.trained, self._validated = 0.0, 0.0
        self._steps, self._images = 0, 0
        self._accuracies: list[float] = []
        self._losses: list[float] = []
        self._best: Tensors = {}

    def train(self, goal: float, whole: float, step_cost: float) -> None:
        """Take steps until training has cost so much: one, and as many more as fit.

        Args:
            goal: What training may have cost then, since the start of the run.
            whole: What training will have cost at the end of the run.
            step_cost: What a step is expected to cost.
        """
        self.step(self.trained / whole)
        while self.trained + step_cost <= goal:
            self.step(self.trained / whole)

    def step(self, share: float) -> None:
        """Take one step, when a share of the run's training is done."""
        before, place = self._training.spent(), min(int(share * _SCHEDULE_STEPS), _SCHEDULE_STEPS - 1)
        lr = learning_rate("cosine", self._lr, WARMUP_RATIO, place, _SCHEDULE_STEPS, _SCHEDULE_STEPS)
        self._training.step(self._optimizer, self._batches.batch(self._steps), lr)
        self._steps += 1
        self.trained += self._training.spent() - before

    def validate(self, images: int) -> None:
        """Validate on some images, and keep the state if it is better than all before."""
        before = self._training.spent()
        found = self._training.validate(images)
        if not self._accuracies or found.accuracy > max(self._accuracies):
            self._best = self._training.state()
        loss = F.cross_entropy(found.logits, found.labels)
        self._accuracies.append(found.accuracy)
        self._losses.append(float(loss) if bool(torch.isfinite(loss)) else math.inf)
        self._images += images
        self._validated += self._training.spent() - before

    def result(self) -> Run:
        """Return what came out; after at least one step and one validation."""
        cost = Cost(self.trained / self._steps, self._validated / self._images)
        return Run(tuple(self._accuracies), tuple(self._losses), self._best, cost)
