"""How a cycle is run: everything but its budget. It is stored with the cycle, so that a resumed one runs alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from mu2net.core.path import Value
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.train.prefix import Rounding

MAX_VALIDATION_EXAMPLES = 10_000
"""A validation reads at most this many images, the same ones every time (docs/method.md: training a child)."""


@dataclass(frozen=True)
class SearchConfig:
    """How a cycle is run.

    Args:
        agent: Name of the agent.
        seed: Seed of all draws.
        s_size: Size penalty, in ]0, 1].
        s_compute: Compute penalty, in ]0, 1].
        generation_size: Children that are sampled and trained together.
        batch_size: Images per training step.
        num_validations: Validations per child; at most, where a budget is planned from a time or from examples.
        examples_per_validation: Training examples per validation; ``None`` to plan them from the time budget, or
            for one pass where there is none.
        precision: ``"auto"``, ``"float32"`` or ``"bfloat16"``.
        attention: ``"auto"`` (what is measured to be faster), ``"explicit"`` or ``"sdpa"``.
        views: Augmented views per image that are drawn once and kept; 0 to augment anew in every epoch.
        rounding: ``"exact"`` or ``"bfloat16"``: whether activations that enter trainable slots are rounded.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        threads: Threads per worker; results are bit-identical for equal numbers.
        hparams: Starting values of hyperparameters that differ from the agent's.
        fixed: Hyperparameters that keep their starting values.

    Raises:
        ConfigError: A number is not positive, or the seed is not from 0 to 2**63 - 1.
    """

    agent: str = "mu2net"
    seed: int = 0
    s_size: float = 1.0
    s_compute: float = 1.0
    generation_size: int = 2
    batch_size: int = 64
    num_validations: int = 4
    examples_per_validation: int | None = None
    precision: str = "auto"
    attention: str = "auto"
    views: int = 0
    rounding: Rounding = "exact"
    device: str = "auto"
    threads: int = 1
    hparams: Mapping[str, Value] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("generation_size", "batch_size", "num_validations", "examples_per_validation", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name.replace('_', '-')} is {value}; expected at least 1")
        if self.views < 0:
            raise ConfigError(f"views is {self.views}; expected 0, for none, or more")
        if self.rounding not in get_args(Rounding):
            raise UnknownNameError("rounding", self.rounding, get_args(Rounding))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchConfig:
        """Return the configuration from the JSON values of ``to_json``."""
        return cls(**{**values, "fixed": tuple(values.get("fixed", ()))})

    def differences(self, other: SearchConfig) -> list[str]:
        """Return the names of the fields in which two configurations differ."""
        mine, theirs = self.to_json(), other.to_json()
        return [name for name in mine if mine[name] != theirs[name]]


def check_seed(seed: int) -> None:
    """Check that a seed can be stored.

    Raises:
        ConfigError: It is not from 0 to 2**63 - 1.
    """
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed is {seed}; expected 0 to 2**63 - 1")
