"""Executors: where a group of children trains. Results come back as they finish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mu2net.train.child import ComponentSource, TrainedChild
from mu2net.train.events import Observer, StopCheck
from mu2net.train.group import TrainGroup, train_group


class Executor(Protocol):
    """Trains groups of children."""

    def submit(self, group: TrainGroup, observer: Observer, should_stop: StopCheck) -> Iterator[TrainedChild]:
        """Train the children of a group; yield each when it is finished, in any order.

        Args:
            group: What to train.
            observer: Told about batches and intervals.
            should_stop: Asked before every batch whether to go on.

        Raises:
            TrainingStopped: ``should_stop`` said ``now``; children that were not yielded are lost.
        """
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Trains in this process, in lock-step on shared batches.

    Args:
        source: Where components and momentum come from.
    """

    source: ComponentSource

    def submit(self, group: TrainGroup, observer: Observer, should_stop: StopCheck) -> Iterator[TrainedChild]:
        """Train the children of a group; yield them in order when all are finished."""
        yield from train_group(group, self.source, observer=observer, should_stop=should_stop)
