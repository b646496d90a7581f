"""Whose data may shape what a task learns (docs/format.md: compartments), as pure values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Compartment:
    """What a task gives to others, and what it takes from them.

    Args:
        is_private: Whether its own data may shape no other task's path.
        allow_from: The only tasks whose data may shape its paths; ``None`` for all that are not private.
        deny_from: Tasks whose data may not.
    """

    is_private: bool = False
    allow_from: frozenset[str] | None = None
    deny_from: frozenset[str] = frozenset()


def barred(task: str, influence: Collection[str], compartments: Mapping[str, Compartment]) -> tuple[str, ...]:
    """Return the tasks of an influence that a task's paths may not have, sorted; none where all rules are kept.

    Args:
        task: Whose path it is.
        influence: Tasks whose data shaped it.
        compartments: The compartments of all tasks by name; one that is missing has no rules.
    """
    own = compartments.get(task, Compartment())
    return tuple(
        sorted(
            other
            for other in set(influence) - {task}
            if compartments.get(other, Compartment()).is_private
            or (own.allow_from is not None and other not in own.allow_from)
            or other in own.deny_from
        )
    )
