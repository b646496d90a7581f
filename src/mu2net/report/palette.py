"""How owners are told apart in pictures: a colour, and a shape where there are more owners than colours."""

from __future__ import annotations

from collections.abc import Iterable

from mu2net.report.facts import Facts

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Those of Okabe and Ito ("Color Universal Design", 2008) that are also seen on white, as areas and as lines.

Of any two, and of any with the root's, the difference is at least 15 (CIELAB 1976), also for eyes without red, green or
blue receptors (Machado et al. 2009).
"""

SHAPES = ("circle", "square", "diamond", "triangle", "hexagon", "cross")
"""The first six owners are circles in six colours, the next six are squares in the same colours, and so on."""

ROOT_COLOUR = "#4a4a52"
"""On a light ground; on a dark one the page takes a light gray."""

_LEVELS = (1.0, 0.62, 1.45)
"""Lightness of the first 36 owners, of the next 36, and of the 36 after them."""


class OwnerFacts(Facts):
    """How an owner of components looks.

    Args:
        name: A task, or ``"root"``.
        colour: ``"#rrggbb"``.
        shape: One of :data:`SHAPES`.
    """

    name: str
    colour: str
    shape: str


def owner_facts(root: str, owners: Iterable[str]) -> tuple[OwnerFacts, ...]:
    """Return how the root and other owners look, in their order; 108 of them differ, later ones repeat.

    Args:
        root: The root's name among owners.
        owners: The tasks, in the order in which they were added.
    """
    found = [OwnerFacts(name=root, colour=ROOT_COLOUR, shape=SHAPES[0])]
    for number, owner in enumerate(owners):
        rest, hue = divmod(number, len(COLOURS))
        level, shape = divmod(rest, len(SHAPES))
        colour = _at_level(COLOURS[hue], _LEVELS[level % len(_LEVELS)])
        found.append(OwnerFacts(name=owner, colour=colour, shape=SHAPES[shape]))
    return tuple(found)


def _at_level(colour: str, level: float) -> str:
    """Return a colour darker (below 1) or lighter (above 1)."""
    channels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    mixed = [channel * level if level <= 1.0 else 255 - (255 - channel) * (2.0 - level) for channel in channels]
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed)
