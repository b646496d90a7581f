"""Intervals of what was measured: of shares and of means."""

from __future__ import annotations

import math

from mu2net.report.data import Interval

_Z = 1.959964
"""Of a 95 % interval."""


def wilson(share: float, count: int) -> Interval | None:
    """Return a share with Wilson's 95 % interval (Wilson 1927, "Probable inference"); ``None`` where nothing counted.

    Args:
        share: The share, in [0, 1].
        count: Of how many.
    """
    if count < 1:
        return None
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return Interval(value=share, low=max(0.0, middle - half), high=min(1.0, middle + half))


def student_quantile(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's distribution, to 1 % from two degrees of freedom on.

    Cornish-Fisher expansion about the normal quantile (Abramowitz and Stegun, 26.7.5).

    Args:
        degrees: Degrees of freedom, at least 2.
    """
    z = _Z
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))
