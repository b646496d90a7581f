"""How an agent looks in every picture: its color and marker depend on nothing but its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from benchmarks.evidence.agents import is_baseline, kind_of

_TUNED = "tuned"
_COLORS = {
    "mu2net": "#0b6e99",
    "mu2net-plus": "#12a594",
    "munet": "#7b4fa3",
    "budgeted": "#16213e",
    "linear": "#7a7a7a",
    "finetune": "#b5382a",
    "freeze": "#c98a12",
    "adapters": "#7d8f1f",
    "lora": "#d465a0",
}
_OTHERS = ("#3f5efb", "#00743f", "#8c5e3c", "#5b6770", "#e0600b", "#3a0ca3")
_SHADES = (0.0, 0.15, 0.3, 0.45)
"""How far agents of one kind that differ in their number are mixed with white."""


@dataclass(frozen=True)
class Style:
    """How an agent looks.

    Args:
        color: As ``#rrggbb``.
        marker: A marker of matplotlib.
        is_filled: Whether the marker is filled.
    """

    color: str
    marker: str
    is_filled: bool


def style_of(agent: str) -> Style:
    """Return how an agent looks: evolving ones are disks, baselines squares, tuned baselines filled diamonds."""
    is_tuned = kind_of(agent) == _TUNED
    kind, _, number = agent.removeprefix(f"{_TUNED}:").partition(":")
    index = int.from_bytes(hashlib.sha256(kind.encode()).digest()[:4], "big") % len(_OTHERS)
    color = _COLORS.get(kind, _OTHERS[index])
    if number.isdecimal():
        color = _lighter(color, _SHADES[(int(number) if kind == "freeze" else int(number).bit_length()) % len(_SHADES)])
    if is_tuned:
        return Style(color, "D", is_filled=True)
    return Style(color, "s", is_filled=False) if is_baseline(agent) else Style(color, "o", is_filled=True)


def _lighter(color: str, share: float) -> str:
    parts = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)
