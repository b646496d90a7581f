"""What a training run tells its observer, and how it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mu2net.errors import Mu2NetError

Phase = Literal["prepare", "train", "validate"]
"""What a group is busy with."""

StopSignal = Literal["no", "interval", "now"]
"""``no``: go on. ``interval``: finish the current interval and return. ``now``: raise at the next batch."""


class TrainingStopped(Mu2NetError):  # noqa: N818 - a stop on demand is no error of anyone
    """Training was told to stop at once; nothing of the group is kept."""


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A sign of life, at most a few per second.

    Args:
        phase: What the group is busy with.
        interval: The interval, from 0; -1 while the children are prepared.
        done: Batches (children while preparing) that are done in this phase.
        total: Batches (children) of this phase.
    """

    phase: Phase
    interval: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class IntervalDone:
    """A child was validated after an interval.

    Args:
        child: Id of the child.
        interval: The interval, from 0.
        accuracy: Top-1 accuracy on the validation split, in [0, 1].
        loss: Mean training loss of the interval.
        examples: Training examples of the interval.
        lr: Learning rate of the interval's last step.
        seconds: The child's own seconds in the interval, training and validation.
        validation_seconds: The part of them that validation took.
    """

    child: str
    interval: int
    accuracy: float
    loss: float
    examples: int
    lr: float
    seconds: float
    validation_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a worker process wants the user to know.

    Args:
        text: What it logged.
    """

    text: str


Event = BatchDone | IntervalDone | Warned
"""Anything that an observer is told."""

Observer = Callable[[Event], None]
"""Receives the events of a group, in the thread that trains."""

StopCheck = Callable[[], StopSignal]
"""Asked before every batch whether to go on."""


class Reporter:
    """Passes events on to an observer, batches at most every ``gap`` seconds.

    Args:
        observer: Who is told; ``None`` for nobody.
        gap: Smallest time between two ``BatchDone`` events, in seconds.
    """

    def __init__(self, observer: Observer | None, gap: float = 0.25) -> None:
        self._observer = observer
        self._gap = gap
        self._last = float("-inf")

    def batch(self, phase: Phase, interval: int, done: int, total: int) -> None:
        """Report a batch, unless another one was reported a moment ago."""
        now = time.monotonic()
        if self._observer is not None and now - self._last >= self._gap:
            self._last = now
            self._observer(BatchDone(phase, interval, done, total))

    def interval(self, event: IntervalDone) -> None:
        """Report a child's interval."""
        if self._observer is not None:
            self._observer(event)
