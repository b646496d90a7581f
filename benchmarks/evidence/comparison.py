"""Results as tables of agents and tasks, root by root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from benchmarks.evidence.agents import for_display, is_baseline
from benchmarks.evidence.keys import Condition, Experiment, Key
from benchmarks.evidence.records import Check, Failure, Result
from benchmarks.evidence.statistics import Interval, Outcomes, accuracy, average

Learned = Mapping[str, Result]
"""Results of one agent and seed by task."""


@dataclass(frozen=True)
class Table:
    """What agents made of tasks on one root.

    Args:
        root: Short name of the root.
        cells: By agent and seed, the results by task.
    """

    root: str
    cells: Mapping[tuple[str, int], Learned]

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """All tasks that anybody learned, in alphabetical order."""
        return tuple(sorted({task for learned in self.cells.values() for task in learned}))

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """All agents, evolving ones first."""
        return tuple(for_display(agent for agent, _ in self.cells))

    def seeds(self, agent: str) -> tuple[int, ...]:
        """Return the seeds with which an agent learned all tasks."""
        everything = set(self.tasks)
        found = (seed for (name, seed), learned in self.cells.items() if name == agent and set(learned) == everything)
        return tuple(sorted(found))

    def is_complete(self, agent: str) -> bool:
        """Return whether an agent learned all tasks with at least one seed."""
        return bool(self.seeds(agent))

    def results(self, agent: str, task: str = "") -> list[Result]:
        """Return an agent's results, of one task or of all; only of complete seeds where there are any."""
        complete = self.seeds(agent)
        return [
            result
            for (name, seed), learned in sorted(self.cells.items())
            if name == agent and (seed in complete or not complete)
            for result in learned.values()
            if task in ("", result.key.task)
        ]

    def outcomes(self, agent: str, seeds: Sequence[int] | None = None) -> Outcomes | None:
        """Return an agent's test outcomes over all tasks, ``None`` where it is not complete.

        Args:
            agent: Its name.
            seeds: Which of its complete seeds; all by default.
        """
        seeds = self.seeds(agent) if seeds is None else seeds
        if not seeds:
            return None
        learned = [self.cells[agent, seed] for seed in seeds]
        correct = tuple(tuple(one[task].correct for task in self.tasks) for one in learned)
        return Outcomes(correct, tuple(learned[0][task].num_test for task in self.tasks))

    def system(self, agent: str, seed: int) -> Key:
        """Return what identifies the system that holds all tasks of an agent and seed."""
        return replace(next(iter(self.cells[agent, seed].values())).key, task="")

    def average(self, agent: str) -> Interval | None:
        """Return an agent's average test accuracy, ``None`` where it is not complete."""
        outcomes = self.outcomes(agent)
        return None if outcomes is None else average(outcomes)

    def accuracy(self, agent: str, task: str) -> Interval | None:
        """Return an agent's test accuracy on a task, ``None`` where it has none."""
        results = self.results(agent, task)
        return accuracy([result.correct for result in results], results[0].num_test) if results else None

    def added_share(self, agent: str) -> float | None:
        """Return the parameters added per task, over the root's; ``None`` where the agent is not complete."""
        shares = [result.added_share for result in self.results(agent)]
        return sum(shares) / len(shares) if self.is_complete(agent) else None

    def best(self, agents: Iterable[str]) -> str | None:
        """Return the complete agent with the highest average, ``None`` where none is complete."""
        averages = {agent: outcomes.average for agent in agents if (outcomes := self.outcomes(agent)) is not None}
        return max(averages, key=lambda agent: averages[agent], default=None)

    def best_baseline(self) -> str | None:
        """Return the complete baseline with the highest average, ``None`` where none is complete."""
        return self.best(agent for agent in self.agents if is_baseline(agent))


@dataclass(frozen=True)
class Evidence:
    """All that was measured in one condition.

    Args:
        condition: What is equal for all agents.
        tables: By root, tasks one after another.
        alone: By root, every task in a system of its own.
        scales: By root and size penalty, tasks one after another; 1 is the table.
        growth: By root, agent and seed, the results in the order of learning.
        times: By seconds per task and root, tasks one after another, with the condition's settings.
        checks: What verifying the systems said.
        failures: What failed and was not repeated.
    """

    condition: Condition
    tables: Mapping[str, Table]
    alone: Mapping[str, Table]
    scales: Mapping[str, Mapping[float, Table]]
    growth: Mapping[tuple[str, str, int], Sequence[Result]]
    times: Mapping[float, Mapping[str, Table]]
    checks: Mapping[Key, Check]
    failures: Sequence[Failure] = ()

    @classmethod
    def of(
        cls,
        condition: Condition,
        results: Iterable[Result],
        checks: Iterable[Check] = (),
        failures: Iterable[Failure] = (),
    ) -> Evidence:
        """Return the evidence of a condition.

        Where a root's name stood for several networks, the one that was measured last counts.

        Args:
            condition: The condition.
            results: Results of any condition, oldest first.
            checks: Checks of any condition.
            failures: Failures of any condition.
        """
        everything = list(results)
        specs = {result.key.root: _network(result.key) for result in everything}
        everything = [result for result in everything if specs[result.key.root] == _network(result.key)]
        here = [result for result in everything if result.key.condition == condition]
        tables = make_tables(here, "table")
        scales = {root: {1.0: table} for root, table in tables.items()}
        for scale in sorted({result.key.s_size for result in here if result.key.experiment == "scale"}, reverse=True):
            for root, table in make_tables(here, "scale", scale).items():
                scales.setdefault(root, {})[scale] = table
        return cls(
            condition=condition,
            tables=tables,
            alone=make_tables(here, "alone"),
            scales={root: tables for root, tables in scales.items() if set(tables) - {1.0}},
            growth=_growth(here),
            times=_times(everything, condition),
            checks={check.key: check for check in checks if specs.get(check.key.root) == _network(check.key)},
            failures=[failure for failure in failures if failure.key.condition == condition],
        )


def make_tables(results: Iterable[Result], experiment: Experiment, s_size: float = 1.0) -> dict[str, Table]:
    """Return one table per root.

    Where an agent and a seed learned tasks in several orders (because it was run on some of them first), the
    longest counts.

    Args:
        results: Results of one condition.
        experiment: Which of them to take.
        s_size: Which of them to take.
    """
    orders: dict[tuple[str, str, int], dict[tuple[str, ...], dict[str, Result]]] = {}
    for result in results:
        key = result.key
        if (key.experiment, key.s_size) == (experiment, s_size):
            by_order = orders.setdefault((key.root, key.agent, key.seed), {})
            by_order.setdefault(key.order, {})[key.task] = result
    cells: dict[str, dict[tuple[str, int], Learned]] = {}
    for (root, agent, seed), by_order in orders.items():
        cells.setdefault(root, {})[agent, seed] = max(by_order.values(), key=len)
    return {root: Table(root, found) for root, found in sorted(cells.items())}


def _network(key: Key) -> tuple[str, int | None]:
    return key.spec, key.image_size


def _growth(results: Iterable[Result]) -> dict[tuple[str, str, int], list[Result]]:
    found: dict[tuple[str, str, int], list[Result]] = {}
    for root, table in make_tables(results, "growth").items():
        for (agent, seed), learned in table.cells.items():
            found[root, agent, seed] = sorted(learned.values(), key=lambda result: result.key.position)
    return found


def _times(results: Iterable[Result], condition: Condition) -> dict[float, dict[str, Table]]:
    by_seconds: dict[float, list[Result]] = {}
    for result in results:
        other = result.key.condition
        if other.seconds is not None and (other.hparams, other.fixed) == (condition.hparams, condition.fixed):
            by_seconds.setdefault(other.seconds, []).append(result)
    return {seconds: make_tables(found, "table") for seconds, found in sorted(by_seconds.items())}
