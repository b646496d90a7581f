"""From what training returns to what the store takes."""

from __future__ import annotations

from mu2net.core.component import Component, Digest
from mu2net.core.path import Path
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.nn.backbone import Backbone
from mu2net.nn.flops import count_parameters
from mu2net.store.records import NewComponent
from mu2net.train.child import TrainedChild


def new_components(backbone: Backbone, proposal: Proposal, result: TrainedChild) -> tuple[NewComponent, ...]:
    """Return the components that a child trained, without names yet.

    Args:
        backbone: What slots compute.
        proposal: What was asked for.
        result: What training returned.
    """
    return tuple(
        NewComponent(
            slot=plan.slot,
            tensors=result.tensors[plan.slot.name],
            num_params=count_parameters(backbone, plan.slot, result.tensors[plan.slot.name]),
            source_digest=plan.digest,
            momentum=result.momentum.get(plan.slot.name) or None,
        )
        for plan in proposal.slots
        if plan.is_trainable
    )


def draft_path(
    population: Population,
    agent: str,
    proposal: Proposal,
    result: TrainedChild,
    components: tuple[NewComponent, ...],
) -> Path:
    """Return a child as a path before its components have names: enough to score it and to compare it.

    Args:
        population: What it descends from.
        agent: Name of its agent.
        proposal: What was asked for.
        result: What training returned.
        components: What it trained.
    """
    trained = {component.slot: component.num_params for component in components}
    chain = [
        Component(Digest(f"new:{plan.slot.name}"), plan.slot, trained[plan.slot], population.task)
        if plan.slot in trained
        else _shared(population, plan)
        for plan in proposal.slots
    ]
    return Path(
        result.id,
        population.task,
        tuple(chain),
        proposal.hparams,
        proposal.parent_id,
        agent,
        result.metrics,
    )


def _shared(population: Population, plan: SlotPlan) -> Component:
    """Return a shared component as the recorded path that holds it knows it."""
    for path in (*population.candidates, *population.lineage.values()):
        found = path.component(plan.slot.name)
        if found is not None and found.digest == plan.digest:
            return found
    raise KeyError(f"no recorded path has component {plan.digest} in slot {plan.slot.name!r}")
