"""What one child of a cycle may spend: as the user said, else planned from the cycle's budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from mu2net.core.agents import Agent, make_agent
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal
from mu2net.core.rng import generator
from mu2net.data.task import TaskData
from mu2net.errors import BudgetError
from mu2net.nn.backbone import Backbone
from mu2net.search.budget import (
    IN_EXAMPLES,
    MAX_PASSES,
    TARGET_CHILDREN,
    Budget,
    ChildBudget,
    Cost,
    Plan,
    Workload,
    full_child,
    plan_child,
    plan_run,
    too_small,
)
from mu2net.search.clock import Clock
from mu2net.search.config import MAX_VALIDATION_EXAMPLES, SearchConfig
from mu2net.search.events import Observer, Preparing
from mu2net.search.executor import Executor
from mu2net.search.speed import measure_speed
from mu2net.store.store import Store
from mu2net.train.events import StopSignal
from mu2net.train.group import TrainConfig


@dataclass(frozen=True)
class ChildPlanner:
    """Plans the children of a cycle.

    Args:
        store: Where the root lives.
        executor: Where children train.
        backbone: What slots compute.
        data: The task's images.
        agent: Who proposes the children.
        config: How the cycle is run.
        train_config: How children are trained.
        observer: Told what happens.
        should_stop: Asked whether the user wants to stop; the end of the time does not end a measurement.
    """

    store: Store
    executor: Executor
    backbone: Backbone
    data: TaskData
    agent: Agent
    config: SearchConfig
    train_config: TrainConfig
    observer: Observer
    should_stop: Callable[[], StopSignal]

    def plan(self, budget: Budget, clock: Clock) -> Plan:
        """Return what every child may spend.

        With ``examples_per_validation`` given, that counts. Else a time, or a number of examples, is divided into
        about ``TARGET_CHILDREN`` children (or as many as the budget names); with neither, an interval is one pass.
        Children of a time budget get equal seconds, so one that trains few slots sees more examples: up to
        ``MAX_PASSES`` passes per interval. A baseline's run gets all that a cycle may spend, or its share of the time,
        and as many validations as a cycle's children together. Where the agent says what its generations may spend, the
        plan is the whole cycle, which they divide. No child gets more than the whole time, however many
        workers there are.

        Args:
            budget: The cycle's budget.
            clock: The cycle's time.

        Raises:
            BudgetError: Not even one interval of one batch fits.
            TrainingStopped: The user asked to stop while speed was measured.
        """
        config = self.config
        num_validated = min(len(self.data.validation), MAX_VALIDATION_EXAMPLES)
        work = Workload(len(self.data.train), num_validated, config.batch_size, config.num_validations)
        child = full_child(work)
        if config.examples_per_validation is not None:
            child = replace(child, examples_per_validation=min(config.examples_per_validation, len(self.data.train)))
        if self._is_staged:
            return self._plan_stages(budget, clock, work, child)
        if self.agent.is_baseline:
            return self._plan_run(budget, clock, work, child)
        if config.examples_per_validation is not None:
            if budget.examples is not None and budget.examples < child.examples:
                raise BudgetError(
                    f"a budget of {budget.examples} training examples is smaller than one child, which takes "
                    f"{child.examples} ({child.num_validations} intervals of {child.examples_per_validation}); nothing "
                    f"was published. Give at least --examples {child.examples}, or smaller intervals"
                )
            return Plan(child)
        target = min(TARGET_CHILDREN, budget.children or TARGET_CHILDREN)
        if budget.seconds is not None:
            work, cost = replace(work, passes=MAX_PASSES), self._measure(self._everything())
            per_worker = ceil(target / self.executor.parallelism)
            planned = plan_child(clock.remaining(), cost, work, per_worker)
            if planned is None:
                raise too_small(budget, cost, work, clock.elapsed())
            return Plan(full_child(work), cost.of(planned, work.num_validated))
        if budget.examples is not None:
            return _required(plan_child(budget.examples, IN_EXAMPLES, work, target), budget, work)
        return Plan(child)

    @property
    def _is_staged(self) -> bool:
        """Whether the agent divides the budget itself."""
        return self.agent.stage(Population.start(self.data.name, self.store.root(), ())) is not None

    def _plan_stages(self, budget: Budget, clock: Clock, work: Workload, child: ChildBudget) -> Plan:
        if budget.seconds is None or self.config.examples_per_validation is not None:
            return Plan(child)
        cost = self._measure(self._head_alone())
        if plan_run(clock.remaining(), cost, work) is None:
            raise too_small(budget, cost, work, clock.elapsed())
        return Plan(full_child(replace(work, passes=MAX_PASSES)), clock.remaining(), cost.train)

    def _plan_run(self, budget: Budget, clock: Clock, work: Workload, child: ChildBudget) -> Plan:
        if budget.children is not None:
            return Plan(replace(child, num_validations=child.num_validations * budget.children))
        if budget.seconds is None:
            return _required(plan_run(float(budget.examples or 0), IN_EXAMPLES, work), budget, work)
        cost = self._measure(self._propose(self.agent))
        rounds = ceil(self.config.generation_size / self.executor.parallelism)
        seconds = clock.remaining() / rounds
        if plan_run(seconds, cost, work) is None:
            raise too_small(budget, cost, work, clock.elapsed(), rounds)
        validations = TARGET_CHILDREN * work.num_validations
        return Plan(full_child(replace(work, num_validations=validations, passes=MAX_PASSES)), seconds)

    def _measure(self, proposal: Proposal) -> Cost:
        tell = self.observer
        tell(Preparing("measuring the speed of this machine", 0, 1))
        cost = measure_speed(
            self.data,
            self.backbone,
            self.executor,
            proposal,
            self.train_config,
            on_sign_of_life=lambda: tell(Preparing("measuring the speed of this machine", 0, 1)),
            should_stop=self.should_stop,
        )
        tell(Preparing("measuring the speed of this machine", 1, 1))
        return cost

    def _everything(self) -> Proposal:
        return self._propose(self._baseline("finetune"))

    def _head_alone(self) -> Proposal:
        """Return a child of which a training step costs little more than a forward pass."""
        return self._propose(self._baseline("linear"))

    def _baseline(self, name: str) -> Agent:
        return make_agent(name, self.backbone.anatomy, self.agent.scoring, _shared(self.config, self.agent))

    def _propose(self, agent: Agent) -> Proposal:
        population = Population.start(self.data.name, self.store.root(), ())
        return agent.propose(population, generator("speed"), 1)[0]


def _shared(config: SearchConfig, agent: Agent) -> dict[str, int | float | str | bool]:
    """Return the starting values of the image pipeline, which set the cost of an example."""
    defaults = agent.space.defaults() | dict(config.hparams)
    return {name: value for name, value in defaults.items() if name.startswith("ds_")}


def _required(child: ChildBudget | None, budget: Budget, work: Workload) -> Plan:
    if child is None:
        raise too_small(budget, IN_EXAMPLES, work)
    return Plan(child)
