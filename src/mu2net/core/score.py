"""Quality, size and compute become one score (arXiv 2205.10937, size-scale control; docs/method.md: score)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mu2net.core.component import Digest
from mu2net.core.path import Path
from mu2net.errors import ConfigError, UnknownComponentError


def count_sharers(live: Iterable[Path]) -> dict[Digest, int]:
    """Return for every digest the number of tasks whose live path uses it.

    Args:
        live: The live paths, one per task; the root is no task and is skipped.
    """
    counts: Counter[Digest] = Counter()
    for path in live:
        if path.task is not None:
            counts.update(set(path.digests))
    return dict(counts)


def accounted_parameters(path: Path, sharers: Mapping[Digest, int]) -> float:
    """Return the parameters that a path is charged for, in parameters.

    Each component's size is divided by the number of tasks whose live path uses it
    (arXiv 2205.10937, size-scale control).

    Args:
        path: The path to charge.
        sharers: Number of tasks per component digest; at least 1 for every component of ``path``.

    Raises:
        UnknownComponentError: A component of ``path`` is missing from ``sharers``.
    """
    total = 0.0
    for component in path.components:
        tasks = sharers.get(component.digest, 0)
        if tasks < 1:
            raise UnknownComponentError(
                f"component {component.digest[:12]} in slot {component.slot.name!r} of path {path.id!r} is used by "
                "no task; count the path itself among its users"
            )
        total += component.num_params / tasks
    return total


@dataclass(frozen=True)
class Scoring:
    """How quality, size and compute are weighed.

    Args:
        reference_params: Parameters of one full copy of the root.
        reference_flops: FLOPs of one forward pass of the root.
        s_size: Factor on the score per ``reference_params`` accounted parameters, in ]0, 1]; 1.0 is off.
        s_compute: Factor on the score per ``reference_flops`` FLOPs, in ]0, 1]; 1.0 is off.

    Raises:
        ConfigError: A factor is outside ]0, 1], or a reference is not positive.
    """

    reference_params: int
    reference_flops: int
    s_size: float = 1.0
    s_compute: float = 1.0

    def __post_init__(self) -> None:
        for name in ("s_size", "s_compute"):
            value = getattr(self, name)
            if not 0.0 < value <= 1.0:
                raise ConfigError(f"{name} is {value}; expected a factor above 0 and at most 1 (1 switches it off)")
        for name in ("reference_params", "reference_flops"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")

    def score(self, path: Path, sharers: Mapping[Digest, int]) -> float:
        """Return quality · s_size^(accounted / reference) · s_compute^(flops / reference).

        Args:
            path: A measured path.
            sharers: Number of tasks per component digest, the path's own task included.

        Raises:
            UnknownComponentError: A component of ``path`` is missing from ``sharers``.
        """
        score = path.quality
        if self.s_size != 1.0:
            score *= self.s_size ** (accounted_parameters(path, sharers) / self.reference_params)
        if self.s_compute != 1.0:
            flops = path.metrics.flops if path.metrics else 0
            score *= self.s_compute ** (flops / self.reference_flops)
        return score
