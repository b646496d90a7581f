"""A session of the benchmark: finds what is left to do, does it, and writes the ledger."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from benchmarks.evidence.agents import misfit
from benchmarks.evidence.keys import Key
from benchmarks.evidence.ledger import Ledger
from benchmarks.evidence.options import Options
from benchmarks.evidence.plans import Plan, Run, make_runs
from benchmarks.evidence.pool import LOG_NAME, Line, Pool
from benchmarks.evidence.records import Check, Failure, Result, record_from_json
from benchmarks.evidence.roots import Root
from benchmarks.evidence.tasks import PART, find_tasks, part_of
from benchmarks.results import now

Say = Callable[[str], None]


class Session:
    """Runs what the options ask for and the ledger does not have.

    Args:
        options: What was asked for.
        ledger: What is there.
        say: Told about progress.
    """

    def __init__(self, options: Options, ledger: Ledger, say: Say) -> None:
        self._options, self._ledger, self._say = options, ledger, say
        self._tasks = find_tasks(options.tasks, options.only)
        self._failed: set[Path] = set()

    def run(self) -> bool:
        """Do all that is left; return whether nothing failed.

        Raises:
            ConfigError: An agent, a task or a root cannot be used as it was named.
        """
        options = self._options
        runs = make_runs(options.experiments, self._fitting(), options.seeds, tuple(self._tasks), options.condition)
        results, checks = self._ledger.results(), self._ledger.checks()
        plans = [plan for plan in (self._plan(run, results, checks) for run in runs) if not plan.is_done]
        self._say(
            f"{len(runs)} runs of {len(self._tasks)} tasks, {len(runs) - len(plans)} of them done already; "
            f"{options.condition.title}; {options.jobs} at a time; systems in {options.work}"
        )
        if not plans:
            return True
        self._make_parts(plans)
        with self._ledger.writing():
            Pool(options.jobs, self._hear, self._end).run(plans)
        return not self._failed

    def _fitting(self) -> Mapping[Root, Sequence[str]]:
        """Return the agents that fit each root, and say which are left out."""
        found = {}
        for root in self._options.roots:
            anatomy = root.anatomy()
            reasons = {agent: misfit(agent, root, anatomy, self._options.condition) for agent in self._options.agents}
            for agent, reason in reasons.items():
                if reason is not None:
                    self._say(f"left out on {root.name}: {agent} ({reason})")
            found[root] = [agent for agent, reason in reasons.items() if reason is None]
        return found

    def _plan(self, run: Run, results: Collection[Key], checks: Collection[Key]) -> Plan:
        sources = dict(self._tasks)
        if run.experiment == "growth":
            parts = self._options.work / "parts"
            sources |= {name + PART: parts / (name + PART) for name in self._tasks}
        return Plan(
            run=run,
            folder=self._options.work / run.folder,
            sources={name: sources[name] for name in run.tasks},
            known=tuple(task for task in run.tasks if run.key(task) in results),
            is_check_known=run.key() in checks,
            jobs=self._options.jobs,
            parent=os.getpid(),
        )

    def _make_parts(self, plans: Sequence[Plan]) -> None:
        for plan in plans:
            for name, path in plan.sources.items():
                if name not in self._tasks:
                    part_of(self._tasks[name.removesuffix(PART)], path)

    def _hear(self, plan: Plan, line: Line) -> None:
        """Write what a process reports."""
        if line["kind"] == "note":
            self._say(line["text"])
            return
        record = record_from_json(line)
        self._ledger.append(record)
        if isinstance(record, Result):
            done = f"({plan.run.tasks.index(record.key.task) + 1}/{len(plan.run.tasks)})"
            self._say(f"{record.key.title} {100 * record.test:.2f} % in {record.wall_seconds:.0f} s {done}")
        elif isinstance(record, Check):
            self._say(f"{record.key.title}: {record.changed_logits} of {record.num_logits} logits changed")
        else:
            self._failed.add(plan.folder)
            self._say(f"FAILED {record.key.title}: {record.error}")

    def _end(self, plan: Plan, code: int) -> None:
        """Write a failure where a process ended badly without reporting one."""
        if code and plan.folder not in self._failed:
            log = plan.folder / LOG_NAME
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
            error = f"the process ended with exit code {code}; the last line of {log.name} is: {last}"
            self._hear(plan, Failure(plan.run.key(), error, now()).to_json())
