"""What a running cycle looks like at a moment: a state that events move on, without any drawing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mu2net.cli.output import duration, percent, plural, quantity
from mu2net.core.path import Path
from mu2net.search.budget import Budget, ChildBudget
from mu2net.search.events import (
    ChildPlanned,
    ChildRecorded,
    CycleStarted,
    GenerationStarted,
    Preparing,
    Published,
    Publishing,
)
from mu2net.train.events import BatchDone, IntervalDone

Weight = Literal["phase", "result"]
"""``phase``: what begins now, of no interest later. ``result``: worth keeping in sight."""

_DOING = {"prepare": "building", "train": "training", "validate": "validating"}


@dataclass(frozen=True)
class Line:
    """A line that an event is worth.

    Args:
        text: What happened.
        weight: How long it is of interest.
    """

    text: str
    weight: Weight


@dataclass
class Progress:
    """The state of a task's cycle, or of any other long work; it begins when this is made.

    Args:
        task: What is worked on.
        clock: Tells the time, in seconds.
    """

    task: str
    clock: Callable[[], float] = time.monotonic
    cycle: CycleStarted | None = None
    child: ChildBudget | None = None
    preparing: Preparing | None = None
    batch: BatchDone | None = None
    generation: int | None = None
    waiting: list[str] = field(default_factory=list)
    children_done: int = 0
    examples_done: int = 0
    curves: dict[str, list[float]] = field(default_factory=dict)
    best: float | None = None
    best_path: Path | None = None
    pace: float | None = None
    is_publishing: bool = False
    _announced: set[str] = field(default_factory=set)
    _began: float = field(init=False)
    _search_began: float = 0.0
    _at_start: float = 0.0
    _highest: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.clock()

    def update(self, event: object) -> list[Line]:
        """Move the state on.

        Args:
            event: What happened; an unknown event changes nothing.

        Returns:
            The lines that the event is worth.
        """
        match event:
            case Preparing():
                return self._prepare(event)
            case CycleStarted():
                return self._start(event)
            case ChildPlanned():
                return self._plan(event)
            case GenerationStarted():
                return self._generation(event)
            case BatchDone():
                self.preparing, self.batch = None, event
            case IntervalDone():
                self.curves.setdefault(event.child, []).append(event.accuracy)
                training = event.seconds - event.validation_seconds
                self.pace = event.examples / training if training > 0 else self.pace
            case ChildRecorded():
                return self._child(event)
            case Publishing(path):
                self.is_publishing, self.batch, self.preparing = True, None, None
                return [Line(f"testing and publishing {path.id}", "phase")]
            case Published():
                return [Line(_published(event), "result")]
        return []

    def _prepare(self, event: Preparing) -> list[Line]:
        is_new = event.what not in self._announced
        self._announced.add(event.what)
        self.preparing = event
        return [Line(event.what, "phase")] if is_new else []

    def _start(self, event: CycleStarted) -> list[Line]:
        self.cycle, self.preparing = event, None
        self.children_done, self._search_began = event.children_done, self.clock()
        self._highest = 0.0
        if event.best is not None:
            self.best, self.best_path = event.best.quality, event.best
        self._at_start = self.fraction() or 0.0
        text = f"cycle {event.number} with agent {event.agent}, until {_bounds(event.budget)}"
        if event.children_done or event.seconds_done:
            earlier = f"{plural(event.children_done, 'child')} in {duration(event.seconds_done)}"
            text += f"; goes on after an interruption ({earlier} done)"
        return [Line(text, "result")]

    def _plan(self, event: ChildPlanned) -> list[Line]:
        budget = self.child = event.budget
        self.examples_done = self.children_done * budget.examples
        intervals = plural(budget.num_validations, "interval")
        if event.seconds is not None:
            most = plural(budget.num_validations, "validation")
            text = f"each child: about {duration(event.seconds)}, with at most {most}"
        else:
            text = f"each child: {intervals} of {budget.examples_per_validation:,} training examples"
        return [Line(text, "phase")]

    def _generation(self, event: GenerationStarted) -> list[Line]:
        self.generation, self.waiting, self.batch = event.number, list(event.children), None
        self.curves.clear()
        return [Line(f"generation {event.number}: {plural(len(event.children), 'child')}", "phase")]

    def _child(self, event: ChildRecorded) -> list[Line]:
        path = event.path
        self.children_done += 1
        if path.id in self.waiting:
            self.waiting.remove(path.id)
        if event.is_best:
            self.best, self.best_path = path.quality, path
        self.examples_done += path.metrics.examples if path.metrics else 0
        return [Line(_recorded(event), "result")]

    @property
    def current(self) -> float | None:
        """The best latest validation accuracy among the children in training, in [0, 1]."""
        return max((curve[-1] for curve in list(self.curves.values())), default=None)

    @property
    def elapsed(self) -> float:
        """Seconds that the work has taken; those of a cycle over all of its runs, preparation included."""
        return self.clock() - self._began + (self.cycle.seconds_done if self.cycle else 0.0)

    def doing(self) -> str:
        """Return what is being done at this moment."""
        if self.preparing:
            of = f" {self.preparing.done:,} of {self.preparing.total:,}" if self.preparing.total > 1 else ""
            return f"{self.preparing.what}{of}"
        if self.is_publishing:
            return "testing and publishing"
        if self.generation is None:
            return "starting"
        parts = [f"generation {self.generation}", self._children()]
        if self.batch and self.batch.interval >= 0:
            of = f" of {self.child.num_validations}" if self.child else ""
            parts.append(f"interval {self.batch.interval + 1}{of}")
        parts.append(_DOING[self.batch.phase] if self.batch else "starting")
        return " · ".join(parts)

    def _children(self) -> str:
        first, last = self.children_done + 1, self.children_done + len(self.waiting)
        total = self.cycle.budget.children if self.cycle else None
        which = f"children {first}-{last}" if last > first else f"child {first}"
        return which + (f" of {max(total, last)}" if total else "")

    def fraction(self) -> float | None:
        """Return how much of the work is done, in [0, 1]; ``None`` where nobody knows.

        Within a cycle it never goes back.
        """
        if self.cycle is None:
            doing = self.preparing or self.batch
            return doing.done / doing.total if doing and doing.total > 1 else None
        if self.is_publishing:
            return 1.0
        self._highest = max(self._highest, min(max(self._shares(self.cycle.budget)), 1.0))
        return self._highest

    def _shares(self, budget: Budget) -> list[float]:
        """Return the used share of every bound."""
        running = self._running() * len(self.waiting)
        shares = []
        if budget.seconds is not None:
            shares.append(self.elapsed / budget.seconds)
        if budget.children is not None:
            shares.append((self.children_done + running) / budget.children)
        if budget.examples is not None:
            examples = running * self.child.examples if self.child else 0
            shares.append((self.examples_done + examples) / budget.examples)
        return shares

    def _running(self) -> float:
        """Return how far the children in training are, in [0, 1]."""
        if not self.batch or self.batch.interval < 0 or not self.child or not self.batch.total:
            return 0.0
        inner = self.batch.done / self.batch.total
        within = 0.9 * inner if self.batch.phase == "train" else 0.9 + 0.1 * inner
        return min((self.batch.interval + within) / self.child.num_validations, 1.0)

    def left(self) -> str:
        """Return the time that is left, estimated where the budget is no time; empty where nothing can be said."""
        fraction = self.fraction()
        if self.cycle is None or self.is_publishing or fraction is None:
            return ""
        seconds = self.cycle.budget.seconds
        if seconds is not None and fraction <= self.elapsed / seconds:
            return f"{duration(max(0, round(seconds - self.elapsed)))} left"
        searched, progressed = self.clock() - self._search_began, fraction - self._at_start
        if searched < 2 or progressed < 0.02:
            return ""
        return f"about {duration(round(searched * (1 - fraction) / progressed))} left"


def _bounds(budget: Budget) -> str:
    bounds = []
    if budget.seconds is not None:
        bounds.append(duration(budget.seconds))
    if budget.children is not None:
        bounds.append(plural(budget.children, "child"))
    if budget.examples is not None:
        bounds.append(plural(budget.examples, "training example"))
    return " or ".join(bounds)


def _recorded(event: ChildRecorded) -> str:
    path = event.path
    verdict = "best so far" if event.is_best else "kept" if event.is_kept else "not kept"
    spent = f", {duration(path.metrics.seconds)}" if path.metrics else ""
    trained = sum(component.num_params for component in path.components if _is_own(path, component.task))
    return f"child {path.id}: {percent(path.quality)} validation, {verdict} ({quantity(trained)} own parameters{spent})"


def _is_own(path: Path, trained_by: str | None) -> bool:
    return trained_by == path.task


def _published(event: Published) -> str:
    path = event.path
    test = path.metrics.test if path.metrics else None
    facts = f"{percent(path.quality)} validation, {percent(test)} test"
    return f"published {path.id}: {facts}" if event.is_new else f"the earlier path {path.id} stays: {facts}"
