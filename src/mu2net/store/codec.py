"""Values of ``core`` to JSON values and back, without any loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from mu2net.core.component import Digest, Slot
from mu2net.core.path import Metrics, Mutation
from mu2net.core.proposal import Proposal, SlotPlan


def mutations_to_json(mutations: Iterable[Mutation]) -> list[dict[str, Any]]:
    """Return mutations as JSON values."""
    return [asdict(mutation) for mutation in mutations]


def mutations_from_json(data: Iterable[Mapping[str, Any]]) -> tuple[Mutation, ...]:
    """Return mutations from what ``mutations_to_json`` made."""
    return tuple(Mutation(**entry) for entry in data)


def metrics_to_json(metrics: Metrics) -> dict[str, Any]:
    """Return metrics as JSON values."""
    return {
        "quality": metrics.quality,
        "flops": metrics.flops,
        "validations": list(metrics.validations),
        "examples": metrics.examples,
        "seconds": metrics.seconds,
        "test": metrics.test,
        "extra": dict(metrics.extra),
    }


def metrics_from_json(data: Mapping[str, Any]) -> Metrics:
    """Return metrics from what ``metrics_to_json`` made."""
    return Metrics(**{**data, "validations": tuple(data["validations"])})


def proposal_to_json(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal as JSON values.

    Args:
        proposal: What an agent asked for.
    """
    return {
        "parent_id": proposal.parent_id,
        "origin": proposal.origin,
        "slots": [
            {"slot": plan.slot.name, "kind": plan.slot.kind, "action": plan.action, "digest": plan.digest}
            for plan in proposal.slots
        ],
        "hparams": dict(proposal.hparams),
        "mutations": mutations_to_json(proposal.mutations),
        "rates": dict(proposal.rates),
        "inherits_momentum": proposal.inherits_momentum,
        "measures_statistics": proposal.measures_statistics,
    }


def proposal_from_json(data: Mapping[str, Any]) -> Proposal:
    """Return a proposal from what ``proposal_to_json`` made.

    Args:
        data: JSON values.
    """
    return Proposal(
        parent_id=data["parent_id"],
        origin=data["origin"],
        slots=tuple(
            SlotPlan(
                Slot(plan["slot"], plan["kind"]),
                plan["action"],
                None if plan["digest"] is None else Digest(plan["digest"]),
            )
            for plan in data["slots"]
        ),
        hparams=data["hparams"],
        mutations=mutations_from_json(data["mutations"]),
        rates=data["rates"],
        inherits_momentum=data["inherits_momentum"],
        measures_statistics=data.get("measures_statistics", False),
    )
