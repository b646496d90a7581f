"""Measures how fast this machine trains and evaluates on a task, to plan children for a time budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mu2net.core.proposal import Proposal
from mu2net.data.task import TaskData
from mu2net.nn.backbone import Backbone
from mu2net.search.budget import Cost
from mu2net.train.child import ChildJob, ComponentSource
from mu2net.train.events import Event, IntervalDone, StopSignal
from mu2net.train.group import TrainConfig, TrainGroup, train_group

_BATCHES = 2
_EVALUATED = 64


def measure_speed(
    task: TaskData,
    backbone: Backbone,
    source: ComponentSource,
    proposal: Proposal,
    config: TrainConfig,
    *,
    on_sign_of_life: Callable[[], None],
    should_stop: Callable[[], StopSignal],
) -> Cost:
    """Train and evaluate a few batches, twice, and return the speed of the second time.

    What is trained here is thrown away, and no draw of the search depends on it.

    Args:
        task: The images.
        backbone: What the slots compute.
        source: Where components come from.
        proposal: What is trained; for evolution a child that trains everything, the most expensive one.
        config: How children are trained; its budget is not used.
        on_sign_of_life: Called now and then.
        should_stop: Asked before every batch whether to go on.
    """
    seconds: dict[int, float] = {}

    def observe(event: Event) -> None:
        on_sign_of_life()
        if isinstance(event, IntervalDone):
            seconds[event.interval] = event.seconds

    batch = min(config.batch_size, len(task.train))
    evaluated = min(_EVALUATED, len(task.validation))
    small = replace(
        config,
        num_validations=2,
        examples_per_validation=min(_BATCHES * batch, len(task.train)),
        max_validation_examples=evaluated,
        evaluation_batch_size=evaluated,
    )
    group = TrainGroup(task, (ChildJob("speed", proposal, len(task.classes)),), small, ("speed", task.name), backbone)
    trained = train_group(group, source, observer=observe, should_stop=should_stop)[0]
    per_interval = trained.metrics.examples / 2
    # A training step costs about three forward passes: forward, and the gradients of activations and parameters.
    per_unit = seconds[1] / (3 * per_interval + evaluated)
    return Cost(train=3 * per_unit, evaluate=per_unit)
