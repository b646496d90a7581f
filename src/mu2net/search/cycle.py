"""The cycle of a task: an agent proposes, children train, the best is published (docs/method.md: end of a cycle).

A cycle that was interrupted goes on where it stopped: it repeats the draws of the recorded generations, keeps every
recorded child, and trains only those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mu2net.core.agents import Agent, Trained, make_agent
from mu2net.core.outlook import Outlook
from mu2net.core.path import Path
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal
from mu2net.core.rng import generator
from mu2net.core.score import Scoring
from mu2net.core.selection import count_picks
from mu2net.data.task import TaskData
from mu2net.errors import BudgetError, ConfigError, Mu2NetError
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import choose_device, choose_precision
from mu2net.search.allotment import Allotment
from mu2net.search.arithmetic import cycle_attention
from mu2net.search.budget import Budget, ChildBudget, Plan
from mu2net.search.clock import Clock
from mu2net.search.config import MAX_VALIDATION_EXAMPLES, SearchConfig
from mu2net.search.events import (
    ChildPlanned,
    ChildRecorded,
    CycleStarted,
    GenerationStarted,
    Observer,
    Published,
    Publishing,
    StopRequest,
)
from mu2net.search.executor import Executor
from mu2net.search.planning import ChildPlanner
from mu2net.search.publication import publish_path
from mu2net.search.trained import draft_path, new_components
from mu2net.store.records import CycleRecord, TrainedRecord, path_id
from mu2net.store.store import Store
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.batches import Key
from mu2net.train.child import ChildJob, TrainedChild
from mu2net.train.events import Event, IntervalDone, StopSignal, TrainingStopped
from mu2net.train.group import TrainConfig, TrainGroup


@dataclass(frozen=True)
class Workshop:
    """What every cycle of a system works with.

    Args:
        store: Where paths live.
        backbone: What slots compute.
        executor: Where children train.
        observer: Told what happens.
        stop_request: Asked whether the user wants to stop.
        cache: Where activations of the test split are kept; ``None`` to keep none.
    """

    store: Store
    backbone: Backbone
    executor: Executor
    observer: Observer
    stop_request: Callable[[], StopRequest]
    cache: ActivationCache | None = None


class Cycle:
    """One cycle of one task.

    Args:
        workshop: What it works with.
        data: The task's images.
        config: How it is run; of an interrupted cycle, the stored one.
        budget: When it ends.
        clock: Counts its time.
        record: The interrupted cycle to go on with; ``None`` to start a new one.
        replaces: The interrupted cycle that is given up once the new one can start.

    Raises:
        BudgetError: The budget is too small for one interval.
    """

    def __init__(
        self,
        workshop: Workshop,
        data: TaskData,
        config: SearchConfig,
        budget: Budget,
        clock: Clock,
        record: CycleRecord | None = None,
        *,
        replaces: CycleRecord | None = None,
    ) -> None:
        self._workshop, self._data, self._config = workshop, data, config
        self._budget, self._clock = budget, clock
        anatomy = workshop.backbone.anatomy
        scoring = Scoring(anatomy.num_params, anatomy.flops, config.s_size, config.s_compute)
        self._agent: Agent = make_agent(config.agent, anatomy, scoring, config.hparams, config.fixed)
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        self._train_config = TrainConfig(
            num_validations=1,
            examples_per_validation=1,
            batch_size=config.batch_size,
            device=device,
            precision=precision,
            attention=cycle_attention(workshop.store, workshop.backbone, config, device, precision, record),
            threads=config.threads,
            views=config.views,
            rounding=config.rounding,
            max_validation_examples=MAX_VALIDATION_EXAMPLES,
        )
        self._group_seconds: dict[int, float] = {}
        self._seconds_per_child = 0.0
        self._kept: tuple[Path, ...] = ()
        self._plan = _recorded_plan(record.config) if record else self._make_plan()
        self._allotment = Allotment(
            self._plan,
            budget,
            clock,
            config.generation_size,
            workshop.executor.parallelism,
            len(data.train),
            self._agent.is_baseline,
        )
        self._record = record or self._start(replaces)

    def run(self) -> Path:
        """Run the cycle to its end and return the task's live path.

        Raises:
            BudgetError: The budget ended before any child was trained; nothing was published.
            TrainingStopped: The user asked to stop at once; the cycle can be resumed.
        """
        recorded = self._recorded()
        population = self._start_population()
        self._tell_start(population)
        history: list[Trained] = []
        while True:
            population = replace(population, outlook=self._outlook())
            proposals = self._propose(population, history, recorded)
            if not proposals:
                return self._publish(population)
            trained = self._train(population, proposals, recorded)
            population = self._agent.observe(population, trained)
            history += trained

    def _outlook(self) -> Outlook | None:
        """Return what is left of a budget that the agent divides itself; ``None`` where time does not bound it."""
        if self._plan.pass_seconds is None or self._budget.seconds is None:
            return None
        passes = self._clock.remaining() / self._plan.pass_seconds
        return Outlook(passes, len(self._data.train), self._workshop.executor.parallelism)

    def _make_plan(self) -> Plan:
        planner = ChildPlanner(
            self._workshop.store,
            self._workshop.executor,
            self._workshop.backbone,
            self._data,
            self._agent,
            self._config,
            self._train_config,
            self._workshop.observer,
            self._workshop.stop_request,
        )
        return planner.plan(self._budget, self._clock)

    def _start(self, replaces: CycleRecord | None) -> CycleRecord:
        """Record the cycle with everything that a resumed one must repeat."""
        store, config = self._workshop.store, self._config
        stored = {
            "search": config.to_json(),
            "child": asdict(self._plan.child),
            "seconds_per_child": self._plan.seconds,
            "seconds_per_pass": self._plan.pass_seconds,
            "budget": asdict(self._budget),
            "attention": self._train_config.attention,
            "live": [path.id for path in store.live_paths()],
        }
        if replaces is not None:
            store.abandon_cycle(replaces, "a new cycle was asked for")
        return store.start_cycle(self._data.name, config.agent, config.seed, stored)

    def _tell_start(self, population: Population) -> None:
        record, tell = self._record, self._workshop.observer
        children = self._workshop.store.children(record.task, record.number)
        kept = tuple(child.path for child in children if child.is_kept)
        best = self._agent.best(replace(population, own=(*population.own, *kept)))
        score = None if best is None else self._agent.score(population, best)
        tell(
            CycleStarted(
                record.task,
                record.number,
                record.agent,
                self._budget,
                len(children),
                self._clock.earlier,
                best,
                score,
            )
        )
        tell(ChildPlanned(self._plan.child, self._plan.seconds))

    def _start_population(self) -> Population:
        """Return the population as it was when the cycle started, whatever was published since."""
        store, record = self._workshop.store, self._record
        lineage = store.ancestors()
        live = [lineage[live_id] for live_id in record.config["live"]]
        earlier = (  # not what was imported since: it has a larger number
            path
            for path in lineage.values()
            if path.task == record.task and int(path.id.rsplit("/", 3)[1]) < record.number
        )
        picks = count_picks(earlier, record.task, record.agent)
        population = Population.start(record.task, store.root(), live, lineage, picks, store.compartments())
        return self._agent.begin(population, generator(record.seed, record.task, record.number, "begin"))

    def _recorded(self) -> dict[str, Trained]:
        children = self._workshop.store.children(self._record.task, self._record.number)
        return {child.path.id: Trained(child.proposal, child.path) for child in children if child.proposal}

    def _propose(
        self, population: Population, history: Sequence[Trained], recorded: dict[str, Trained]
    ) -> list[Proposal]:
        """Return the next generation; none where the cycle is over.

        A generation that is partly recorded reaches at least to its last recorded child; one that others followed, just
        to there.
        """
        generation = f"{self._prefix()}{population.generation}/"
        numbers = [int(identity.removeprefix(self._prefix()).split("/")[0]) for identity in recorded]
        done = [int(identity.removeprefix(generation)) for identity in recorded if identity.startswith(generation)]
        fitting = (
            0
            if self._is_over() or max(numbers, default=0) > population.generation
            else self._allotment.size([child.path for child in history], self._agent.stage(population))
        )
        size = max(fitting, max(done, default=-1) + 1)
        if not size:
            return []
        key = (self._record.seed, self._record.task, self._record.number, population.generation)
        return self._agent.propose(population, generator(*key), size)

    def _is_over(self) -> bool:
        """Return whether the user asked to stop, or the time is over."""
        return self._workshop.stop_request() != "no" or self._clock.remaining() <= 0

    def _id(self, population: Population, child: int) -> str:
        return path_id(self._record.task, self._record.number, population.generation, child)

    def _prefix(self) -> str:
        """Return how the ids of this cycle's children begin."""
        return f"{self._record.task}/{self._record.number}/"

    def _train(
        self, population: Population, proposals: Sequence[Proposal], recorded: dict[str, Trained]
    ) -> list[Trained]:
        """Train the children of a generation that are not recorded yet; return all of them in order.

        Where the time is over or the user asked to stop, only those that are recorded count.
        """
        ids = [self._id(population, child) for child in range(len(proposals))]
        missing = {identity: child for child, identity in enumerate(ids) if identity not in recorded}
        if self._is_over():
            missing = {}
        trained = {identity: recorded[identity] for identity in ids if identity in recorded}
        if missing:
            self._workshop.observer(GenerationStarted(population.generation, tuple(missing)))
            self._kept = tuple(child.path for child in trained.values() if self._agent.keeps(population, child.path))
            for result in self._results(population, proposals, missing):
                child = missing[result.id]
                trained[result.id] = self._record_child(population, child, proposals[child], result)
        return [trained[identity] for identity in ids if identity in trained]

    def _results(
        self, population: Population, proposals: Sequence[Proposal], missing: dict[str, int]
    ) -> list[TrainedChild]:
        """Train the missing children: those of a generation see the same batches.

        The runs of a baseline without stages are independent: each sees batches of its own.
        """
        earlier = [path for path in population.lineage.values() if path.id.startswith(self._prefix())]
        record, stage = self._record, self._agent.stage(population)
        config = self._allotment.child(self._train_config, earlier, stage, len(proposals))
        jobs = {child: ChildJob(name, proposals[child], len(self._data.classes)) for name, child in missing.items()}
        key = (record.seed, record.task, record.number, population.generation)
        parts: dict[Key, tuple[ChildJob, ...]] = {key: tuple(jobs.values())}
        if self._agent.is_baseline and stage is None:
            parts = {(*key, child): (job,) for child, job in jobs.items()}
        groups = [TrainGroup(self._data, part, config, its, self._workshop.backbone) for its, part in parts.items()]
        self._group_seconds.clear()
        results = list(self._workshop.executor.submit(groups, self._observe, self._stop_signal))
        self._seconds_per_child = self._clock.lap() / len(results)
        return results

    def _observe(self, event: Event) -> None:
        if isinstance(event, IntervalDone):
            self._group_seconds[event.interval] = self._group_seconds.get(event.interval, 0.0) + event.seconds
        self._workshop.observer(event)

    def _stop_signal(self) -> StopSignal:
        """Return what training should do: as the user wants; at the end of the time, stop after the interval.

        A group also stops where less than half of another interval would fit. The first interval does not tell how long
        another one takes: it computes the activations that later ones find, and children that were given seconds
        planned for that.
        """
        request = self._workshop.stop_request()
        if request != "no" or self._budget.seconds is None:
            return request
        is_planned = self._plan.seconds is not None
        is_known = len(self._group_seconds) > 1 or (self._group_seconds and not is_planned)
        last = self._group_seconds[max(self._group_seconds)] if is_known else 0.0
        last /= self._workshop.executor.parallelism
        return "interval" if self._clock.remaining() <= last / 2 else "no"

    def _record_child(self, population: Population, child: int, proposal: Proposal, result: TrainedChild) -> Trained:
        """Write a trained child to the store, whether or not it is kept."""
        store, backbone = self._workshop.store, self._workshop.backbone
        components = new_components(backbone, proposal, result)
        draft = draft_path(population, self._agent.name, proposal, result, components)
        is_kept = self._agent.keeps(population, draft)
        entry = TrainedRecord(
            population.generation, child, proposal, components, result.metrics, is_kept, self._seconds_per_child
        )
        path = store.record_child(self._record, entry)
        self._kept += (path,) if is_kept else ()
        best = self._agent.best(replace(population, own=(*population.own, *self._kept)))
        score = self._agent.score(population, path)
        self._workshop.observer(ChildRecorded(path, score, is_kept, best is path))
        return Trained(proposal, path)

    def _publish(self, population: Population) -> Path:
        """Publish the best path; the one that was live stays where nothing beat it."""
        best = self._agent.best(population)
        if best is None or not (best.metrics and best.metrics.validations):
            raise self._nothing_found(has_diverged=best is not None)
        workshop = self._workshop
        workshop.observer(Publishing(best))
        path = publish_path(
            workshop.store,
            workshop.backbone,
            self._data,
            self._record,
            best,
            self._train_config,
            workshop.observer,
            workshop.cache,
        )
        is_new = path.id.startswith(self._prefix())
        workshop.observer(Published(path, self._agent.score(population, path), is_new))
        return path

    def _nothing_found(self, *, has_diverged: bool) -> Mu2NetError:
        """Return why there is nothing to publish; a cycle that the user stopped waits to go on, others are given up."""
        task = self._record.task
        if self._workshop.stop_request() != "no":
            return TrainingStopped(f"task {task!r} was stopped before a child was trained; nothing was published")
        if has_diverged:
            self._workshop.store.abandon_cycle(self._record, "training diverged in every child")
            return ConfigError(
                f"training of task {task!r} diverged in every child before its first validation; nothing was "
                "published. Start with a smaller learning rate, for instance --set opt_lr=0.001"
            )
        self._workshop.store.abandon_cycle(self._record, "the budget ended before a child was trained")
        return BudgetError(
            f"the budget of task {task!r} ended before a child was trained; nothing was published. "
            "Give more time, children or examples"
        )


def _recorded_plan(config: Mapping[str, Any]) -> Plan:
    """Return the plan that a cycle was started with."""
    return Plan(ChildBudget(**config["child"]), config["seconds_per_child"], config.get("seconds_per_pass"))
