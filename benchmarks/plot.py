"""Draws the figures: ``python -m benchmarks.plot RESULTS PICTURE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES
from benchmarks.markdown import three_digits


def draw(results: Path, picture: Path) -> None:
    """Draw how many times faster mu2net is than the plain loop.

    Args:
        results: The file of the figures.
        picture: The PNG that is written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))["rows"]
    cases = [case for case in CASES if case.id in rows][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(cases)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, case in enumerate(cases):
        is_generation = case.kind == "generation"
        whole = rows[case.id if is_generation else f"{case.id}_end_to_end"]
        steady = rows[f"{case.id}_warm" if is_generation else case.id]
        for shift, row, color, label in (
            (0.19, steady, "#1f6f8b", "full cache"),
            (-0.19, whole, "#99c1d1", "from an empty cache, with validation"),
        ):
            axes.barh(place + shift, row["value"], 0.36, color=color, label=label if place == 0 else None)
            axes.text(row["value"] * 1.06, place + shift, f"{three_digits(row['value'])}x", va="center", fontsize=8)
    axes.set_yticks(range(len(cases)), [case.title for case in cases], fontsize=9)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0.8, 3 * max(row["value"] for row in rows.values()))
    axes.set_xlabel("times the speed of a plain PyTorch loop for the same children (logarithmic)")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
