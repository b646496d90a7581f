"""How much of a measured accuracy is luck."""

from __future__ import annotations

from math import sqrt

from mu2net.core.path import Path

PROBED_IMAGES = 128
"""Validation images that tell trunks apart: differences that matter are large."""


def standard_error(path: Path) -> float:
    """Return the standard error of a path's validation accuracy, in [0, 0.5].

    Half a right and half a wrong answer are added (Agresti and Coull's interval at one standard error), so that an
    accuracy of 0 or 1 on few images has one too.

    Args:
        path: A measured path.
    """
    number = int(path.metrics.extra.get("validated", PROBED_IMAGES)) if path.metrics else PROBED_IMAGES
    share = (path.quality * number + 0.5) / (number + 1)
    return sqrt(share * (1.0 - share) / (number + 1))
