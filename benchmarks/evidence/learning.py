"""One agent learns tasks one after another: all contact of the comparison with ``System`` is here."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.evidence.agents import lora_rank
from benchmarks.evidence.plans import Plan
from benchmarks.evidence.records import Check, Result
from benchmarks.load import ForeignLoad
from benchmarks.results import machine, now
from mu2net import System
from mu2net.errors import StoreError
from mu2net.search.images import ACTIVATIONS_NAME, CACHE_NAME
from mu2net.store.config import CONFIG_NAME
from mu2net.store.store import Store
from mu2net.system.summary import ProbeSummary

_NO_SYSTEM: dict[str, Any] = dict.fromkeys(("num_params", "accounted_params", "disk_bytes", "cache_bytes"))
"""What a result has only where mu2net ran."""


@dataclass(frozen=True)
class _Measured:
    """What cannot be read from the system afterwards, see ``Result``."""

    wall_seconds: float
    add_seconds: float | None
    foreign_load: float | None
    is_resumed: bool = False
    is_recovered: bool = False


class Learner:
    """Does the tasks of a plan, each when it is asked for; what is there already is not done again.

    Args:
        plan: The plan.
        note: Told what people should know.
    """

    def __init__(self, plan: Plan, note: Callable[[str], None]) -> None:
        self._plan, self._run, self._note = plan, plan.run, note
        self._machine = machine()
        self._is_anew = False

    def next_result(self, task: str) -> Result | None:
        """Return the result of a task; ``None`` where the ledger has it and the system can go on from there.

        Raises:
            Mu2NetError: The task could not be learned.
        """
        is_known = task in self._plan.known
        if is_known and self._run.is_independent:
            return None
        if not self._run.has_system:
            return self._lora(task)
        folder = self._system(task)
        if is_known and not _exists(folder):
            self._say_anew()
        with _open_or_create(folder, self._plan) as system:
            if not _is_published(system, task):
                return self._learn(system, task)
            return None if is_known else self._recover(system, task)

    def next_check(self) -> Check | None:
        """Return what verifying the system says; ``None`` where nothing is to be verified.

        Raises:
            Mu2NetError: The system cannot be read.
        """
        folder = self._system(self._run.tasks[-1])
        is_known = self._plan.is_check_known and not self._is_anew
        if is_known or not self._run.is_checked:
            return None
        started = perf_counter()
        with System.open(folder) as system:
            found = system.verify()
        differences = [probe.max_difference for probe in found.probes]
        largest = max(differences, default=0.0)
        return Check(
            key=self._run.key(),
            num_components=found.num_components,
            num_logits=sum(probe.num_logits for probe in found.probes),
            changed_logits=sum(probe.num_logits for probe in found.probes if probe.check == "changed"),
            unconfirmed=tuple(probe.task for probe in found.probes if not _is_compared(probe)),
            damages=found.damages,
            max_difference=largest if all(map(math.isfinite, differences)) else None,
            seconds=perf_counter() - started,
            machine=self._machine,
            date=now(),
        )

    def clean(self) -> None:
        """Delete what only costs disk space once the run is over: caches, and systems that no other task needs."""
        for task in self._run.tasks:
            folder = self._system(task)
            shutil.rmtree(folder if self._run.is_independent else folder / CACHE_NAME, ignore_errors=True)

    def _system(self, task: str) -> Path:
        """Return the folder of the system that learns a task."""
        return self._plan.folder / (f"alone-{task}" if self._run.experiment == "alone" else "system")

    def _say_anew(self) -> None:
        self._is_anew = True
        self._note(
            f"{self._run.key().title}: the system in {self._plan.folder} is gone, and what is left to do needs "
            "it; starting anew with the first task"
        )

    def _learn(self, system: System, task: str) -> Result:
        run, condition = self._run, self._run.condition
        started, load = perf_counter(), ForeignLoad(self._plan.parent)
        if task not in {known.name for known in system.tasks()}:
            system.add_task(task, self._plan.sources[task])
        add_seconds = perf_counter() - started
        interrupted = Store.open(system.directory).running_cycle(task)
        if interrupted is not None and condition.seconds is not None:
            # Of the child that was interrupted no time counts, so what it computed must not help.
            shutil.rmtree(system.directory / CACHE_NAME / ACTIVATIONS_NAME, ignore_errors=True)
        system.evolve(
            task,
            agent=run.agent,
            seconds=condition.seconds,
            examples=condition.examples,
            s_size=run.s_size,
            hparams=dict(condition.hparams),
            fixed=condition.fixed,
            generation_size=1,
            workers=1,
            threads=1,
        )
        seconds = perf_counter() - started - add_seconds + (interrupted.spent_seconds if interrupted else 0.0)
        measured = _Measured(seconds, add_seconds, load.share(), is_resumed=interrupted is not None)
        return self._result(system, task, measured)

    def _recover(self, system: System, task: str) -> Result:
        """Return the result of a task that was published without being recorded."""
        self._note(f"{self._run.key(task).title}: was published, but not recorded; the record is made from the system")
        store = Store.open(system.directory)
        cycle = store.cycles(task)[-1]
        last = max(child.created_at for child in store.children(task, cycle.number))
        publication = (cycle.ended_at - last).total_seconds() if cycle.ended_at else 0.0
        return self._result(system, task, _Measured(cycle.spent_seconds + publication, None, None, is_recovered=True))

    def _result(self, system: System, task: str, measured: _Measured) -> Result:
        """Return the record of a task that was published just now."""
        summary, path = system.task(task), system.path(task)
        sources: dict[str, int] = {}
        for slot in path.slots:
            sources[slot.trained_by] = sources.get(slot.trained_by, 0) + slot.num_params
        cache = _size(system.directory / CACHE_NAME)
        return Result(
            key=self._run.key(task),
            test=_given(summary.test, task),
            num_test=summary.num_test,
            validation=summary.validation,
            root_params=system.num_root_params,
            num_params=summary.num_params,
            added_params=summary.added_params,
            accounted_params=summary.accounted_params,
            flops=summary.flops,
            seconds=summary.seconds,
            children=summary.children,
            examples=sum(child.examples for child in system.history(task)),
            hparams=dict(path.hparams),
            slots={slot.slot: slot.trained_by for slot in path.slots},
            sources=sources,
            disk_bytes=_size(system.directory) - cache,
            cache_bytes=cache,
            **self._common(measured),
        )

    def _lora(self, task: str) -> Result:
        """Return the result of a low-rank adaptation, which mu2net has no part in."""
        from benchmarks.lora import run_lora

        run, condition, work = self._run, self._run.condition, self._plan.folder / f"lora-{task}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        started, load = perf_counter(), ForeignLoad(self._plan.parent)
        found = run_lora(
            run.root.spec,
            self._plan.sources[task],
            work,
            rank=lora_rank(run.agent),
            seconds=condition.seconds,
            examples=condition.examples,
            seed=run.seed,
            image_size=run.root.image_size,
            hparams=dict(condition.hparams),
        )
        common = self._common(_Measured(perf_counter() - started, None, load.share()))
        shutil.rmtree(work, ignore_errors=True)
        return Result(
            key=run.key(task),
            test=found.test,
            num_test=found.num_test,
            validation=found.validation,
            root_params=run.root.anatomy().num_params,
            added_params=found.added_params,
            flops=found.flops,
            seconds=found.seconds,
            children=1,
            examples=found.examples,
            hparams={"opt_lr": found.lr},
            slots={},
            sources={},
            **_NO_SYSTEM,
            **common,
        )

    def _common(self, measured: _Measured) -> dict[str, Any]:
        return {
            "wall_seconds": measured.wall_seconds,
            "add_seconds": measured.add_seconds,
            "foreign_load": measured.foreign_load,
            "jobs": self._plan.jobs,
            "is_resumed": measured.is_resumed,
            "is_recovered": measured.is_recovered,
            "machine": self._machine,
            "date": now(),
        }


def _exists(folder: Path) -> bool:
    return (folder / CONFIG_NAME).is_file()


def _open_or_create(folder: Path, plan: Plan) -> System:
    """Return the system in a folder; one whose creation was interrupted is completed."""
    if _exists(folder):
        with suppress(StoreError):
            return System.open(folder)
    root = plan.run.root
    return System.create(folder, root=root.spec, image_size=root.image_size, seed=plan.run.seed)


def _is_published(system: System, task: str) -> bool:
    """Return whether a task has a path, and nothing of it waits to go on."""
    names = {known.name for known in system.tasks() if known.path_id is not None}
    return task in names and Store.open(system.directory).running_cycle(task) is None


def _is_compared(probe: ProbeSummary) -> bool:
    return probe.check in ("bit-equal", "within 1e-5", "changed")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _given(value: float | None, task: str) -> float:
    if value is None:
        raise ValueError(f"task {task!r} was published without a test accuracy")
    return value
