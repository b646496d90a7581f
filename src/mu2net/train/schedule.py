"""Learning-rate schedules over the whole budget of a child."""

from __future__ import annotations

import math

from mu2net.errors import ConfigError, UnknownNameError

SCHEDULES = ("constant", "cosine", "linear", "restarts")
"""Names that ``learning_rate`` knows."""


def learning_rate(
    schedule: str, lr: float, warmup_ratio: float, step: int, total_steps: int, steps_per_interval: int
) -> float:
    """Return the learning rate of one optimiser step (arXiv 2205.10937 and 2205.12755).

    - ``cosine``: from ``lr / 100`` straight up to ``lr`` over the first ``warmup_ratio`` of the steps, then half a
      cosine down to 0. The decay length includes the warm-up: 0 is reached after ``total_steps``, not later.
    - ``linear``: the same warm-up, then straight down to 0.
    - ``restarts``: one ``cosine`` cycle, warm-up included, in every validation interval.
    - ``constant``: ``lr / 2`` throughout.

    The number of warm-up steps is rounded down, so a ratio of 0 (or one smaller than a step) has no warm-up.

    Args:
        schedule: One of ``SCHEDULES``.
        lr: Peak learning rate, > 0.
        warmup_ratio: Share of the steps that warm up, in [0, 1].
        step: The step that is taken, 0 … ``total_steps - 1``.
        total_steps: Steps of the whole budget, at least 1.
        steps_per_interval: Steps between two validations, at least 1; ``restarts`` alone uses it.

    Raises:
        UnknownNameError: The schedule is not known.
        ConfigError: The warm-up ratio lies outside [0, 1], or the step outside the budget.
    """
    if schedule not in SCHEDULES:
        raise UnknownNameError("learning-rate schedule", schedule, SCHEDULES)
    if not 0.0 <= warmup_ratio <= 1.0:
        raise ConfigError(f"warm-up ratio is {warmup_ratio}; expected a share of the steps, 0 to 1")
    if not 0 <= step < total_steps or steps_per_interval < 1:
        raise ConfigError(
            f"step {step} of {total_steps} with {steps_per_interval} per interval; "
            "expected a step inside the budget and intervals of at least one step"
        )
    if schedule == "constant":
        return 0.5 * lr
    if schedule == "restarts":
        step, total_steps = step % steps_per_interval, steps_per_interval
    warmup_steps = math.floor(warmup_ratio * total_steps + 1e-9)
    if step < warmup_steps:
        return lr / 100 + (lr - lr / 100) * step / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    if schedule == "linear":
        return lr * (1.0 - progress)
    return 0.5 * lr * (1.0 + math.cos(math.pi * progress))
