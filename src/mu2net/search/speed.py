"""Measures how fast this machine trains and evaluates on a task, to plan children for a time budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mu2net.core.proposal import Proposal
from mu2net.data.task import TaskData
from mu2net.errors import ConfigError
from mu2net.nn.backbone import Backbone
from mu2net.search.budget import Cost
from mu2net.search.executor import Executor
from mu2net.train.child import ChildJob
from mu2net.train.events import Event, IntervalDone, StopSignal, TrainingStopped
from mu2net.train.group import TrainConfig, TrainGroup

MEASURED_IMAGES = 16
"""Images of a batch, and of a validation: large networks take long for full ones, and children are measured again."""


def measure_speed(
    task: TaskData,
    backbone: Backbone,
    executor: Executor,
    proposal: Proposal,
    config: TrainConfig,
    *,
    on_sign_of_life: Callable[[], None],
    should_stop: Callable[[], StopSignal],
) -> Cost:
    """Train and evaluate a small batch, twice, on all workers at once; return the cost of the second time.

    What is trained here is thrown away, and no draw of the search depends on it.

    Args:
        task: The images.
        backbone: What the slots compute.
        executor: Where children train.
        proposal: What is trained; for evolution a child that trains everything, the most expensive one.
        config: How children are trained; its budget is not used.
        on_sign_of_life: Called now and then.
        should_stop: Asked before every batch whether to go on.

    Returns:
        Seconds per example and per image, of one worker.

    Raises:
        TrainingStopped: ``should_stop`` said so before the second time was over.
    """
    done: list[IntervalDone] = []

    def observe(event: Event) -> None:
        on_sign_of_life()
        if isinstance(event, IntervalDone) and event.interval == 1:
            done.append(event)

    batch = min(config.batch_size, len(task.train), MEASURED_IMAGES)
    evaluated = min(MEASURED_IMAGES, len(task.validation))
    small = replace(
        config,
        num_validations=2,
        batch_size=batch,
        examples_per_validation=batch,
        max_validation_examples=evaluated,
        evaluation_batch_size=evaluated,
    )
    jobs = tuple(ChildJob(f"speed-{number}", proposal, len(task.classes)) for number in range(executor.parallelism))
    group = TrainGroup(task, jobs, small, ("speed", task.name), backbone)
    list(executor.submit([group], observe, should_stop))
    if not done and should_stop() == "no":
        raise ConfigError(
            f"training of task {task.name!r} diverges at once; start with a smaller learning rate, "
            "for instance --set opt_lr=0.001"
        )
    if not done:
        raise TrainingStopped("stopped before the first child was trained; nothing was published")
    validation = sum(event.validation_seconds for event in done)
    training = sum(event.seconds for event in done) - validation
    examples = sum(event.examples for event in done)
    return Cost(train=max(training, 1e-9) / max(examples, 1), evaluate=max(validation, 1e-9) / (len(done) * evaluated))
