"""Hyperparameters as ordered lists, and their one-step mutation (arXiv 2205.12755, table of hyperparameters)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mu2net.core.anatomy import Anatomy
from mu2net.core.path import Value
from mu2net.errors import RangeError, UnknownNameError


@dataclass(frozen=True)
class Range:
    """The ordered list of values that a hyperparameter can take.

    Args:
        name: Name of the hyperparameter.
        values: Its values in order; neighbours are one mutation apart.
        default: The value to start from.

    Raises:
        RangeError: ``default`` is not one of ``values``.
    """

    name: str
    values: tuple[Value, ...]
    default: Value

    def __post_init__(self) -> None:
        self.index(self.default)

    def index(self, value: Value) -> int:
        """Return the position of a value.

        Raises:
            RangeError: The value is not in the list.
        """
        for position, known in enumerate(self.values):
            if known == value and isinstance(known, bool) == isinstance(value, bool):
                return position
        listed = ", ".join(str(known) for known in self.values)
        raise RangeError(f"hyperparameter {self.name!r} is {value!r}; expected one of: {listed}")

    def step(self, value: Value, rng: np.random.Generator) -> Value:
        """Return the neighbour above or below, each with probability 1/2, clamped at the ends.

        Args:
            value: The value now.
            rng: Source of the draw.

        Raises:
            RangeError: The value is not in the list.
        """
        offset = 1 if rng.random() < 0.5 else -1
        position = min(max(self.index(value) + offset, 0), len(self.values) - 1)
        return self.values[position]

    def nearest(self, value: Value) -> Value:
        """Return ``value`` where it is in the list, else the closest number, else the default."""
        try:
            return self.values[self.index(value)]
        except RangeError:
            numbers = [known for known in self.values if not isinstance(known, (str, bool))]
            if isinstance(value, (str, bool)) or not numbers:
                return self.default
            return min(numbers, key=lambda known: abs(known - value))


@dataclass(frozen=True)
class Space(Mapping[str, Range]):
    """The hyperparameters that an agent knows, in the order in which they are mutated.

    Args:
        ranges: The ranges; names are unique.
    """

    ranges: tuple[Range, ...]

    def __getitem__(self, name: str) -> Range:
        for known in self.ranges:
            if known.name == name:
                return known
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(known.name for known in self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)

    def defaults(self) -> dict[str, Value]:
        """Return the default of every hyperparameter."""
        return {known.name: known.default for known in self.ranges}

    def validate(self, hparams: Mapping[str, Value]) -> dict[str, Value]:
        """Return the values in the order of the space.

        Raises:
            RangeError: A value is not in its list, or a hyperparameter is missing.
            UnknownNameError: A name is not part of the space.
        """
        for name in hparams:
            if name not in self:
                raise UnknownNameError("hyperparameter", name, self)
        missing = [name for name in self if name not in hparams]
        if missing:
            raise RangeError(f"hyperparameter {missing[0]!r} has no value")
        return {known.name: known.values[known.index(hparams[known.name])] for known in self.ranges}

    def inherit(self, hparams: Mapping[str, Value]) -> dict[str, Value]:
        """Return another agent's values as far as this space knows them.

        An unknown hyperparameter is dropped, a missing one takes its default, and a number outside its list the
        closest value of the list. Values from the same space come back unchanged.
        """
        return {
            known.name: known.nearest(hparams[known.name]) if known.name in hparams else known.default
            for known in self.ranges
        }

    def with_defaults(self, changes: Mapping[str, Value]) -> Space:
        """Return the space with other starting values.

        Raises:
            RangeError: A value is not in its list.
            UnknownNameError: A name is not part of the space.
        """
        for name in changes:
            if name not in self:
                raise UnknownNameError("hyperparameter", name, self)
        return Space(
            tuple(
                replace(known, default=changes[known.name]) if known.name in changes else known for known in self.ranges
            )
        )

    def fixing(self, names: Iterable[str]) -> Space:
        """Return the space in which some hyperparameters keep their starting values, whatever a parent's are.

        Raises:
            UnknownNameError: A name is not part of the space.
        """
        fixed = set(names)
        for name in fixed:
            if name not in self:
                raise UnknownNameError("hyperparameter", name, self)
        return Space(
            tuple(replace(known, values=(known.default,)) if known.name in fixed else known for known in self.ranges)
        )


def _rates(first: int, last: int) -> tuple[float, ...]:
    """Return the mutation probabilities from first to last percent, in steps of two percent."""
    return tuple(percent / 100 for percent in range(first, last + 1, 2))


MU = Range("mu", _rates(10, 30), 0.2)
"""Mutation probability of mu2Net (arXiv 2205.12755)."""

RATE = Range("rate", _rates(2, 30), 0.2)
"""Probability of one single mutation in mu2Net+ (arXiv 2209.07326)."""

LEARNING_RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
ADAPTER_DIMS = (8, 16, 32, 64, 128)
PATCH_DROP_RATES = (0.0, 0.25, 0.5, 0.75)
MIX_RATES = (0.0, 0.25, 0.5, 0.75, 1.0)
AVERAGING = (0.0, 0.05, 0.1, 0.2, 0.5)


def _optimizer(learning_rates: tuple[float, ...]) -> tuple[Range, ...]:
    return (
        Range("opt_lr", learning_rates, 0.01),
        Range("opt_lr_schedule", ("constant", "cosine", "restarts"), "cosine"),
        Range("opt_lr_warmup_ratio", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4), 0.05),
        Range("opt_momentum", (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99), 0.9),
        Range("opt_nesterov", (True, False), False),
    )


def _architecture(anatomy: Anatomy) -> tuple[Range, ...]:
    layers = Range("num_layers", tuple(range(anatomy.min_layers, anatomy.depth + 1)), anatomy.depth)
    return (layers, Range("adapter_dim", ADAPTER_DIMS, 32)) if anatomy.has_adapters else (layers,)


def _images(anatomy: Anatomy, *, augments: bool) -> tuple[Range, ...]:
    deltas = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
    return (
        Range("ds_image_size", anatomy.image_sizes, anatomy.image_size),
        Range("ds_crop", (True, False), True),
        Range("ds_area_range_min", (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), 0.05 if augments else 1.0),
        Range("ds_aspect_ratio_range_min", (0.25, 0.5, 0.75, 1.0), 0.75 if augments else 1.0),
        Range("ds_flip_left_right", (True, False), augments),
        *(Range(f"ds_{name}_delta", deltas, 0.0) for name in ("brightness", "contrast", "saturation", "hue")),
    )


def munet_space(anatomy: Anatomy) -> Space:
    """Return muNet's hyperparameters (arXiv 2205.10937): no ``mu``, learning rates up to 0.1."""
    return Space((*_optimizer(LEARNING_RATES[:-2]), *_architecture(anatomy), *_images(anatomy, augments=True)))


def mu2net_space(anatomy: Anatomy) -> Space:
    """Return mu2Net's hyperparameters (arXiv 2205.12755): ``mu`` is one of them, and comes first."""
    return Space((MU, *_optimizer(LEARNING_RATES), *_architecture(anatomy), *_images(anatomy, augments=True)))


def mu2net_plus_space(anatomy: Anatomy) -> Space:
    """Return mu2Net+'s hyperparameters (arXiv 2209.07326): augmentation is off at first, rates replace ``mu``."""
    return Space((*_optimizer(LEARNING_RATES), *_architecture(anatomy), *_images(anatomy, augments=False)))


def with_regularization(space: Space, anatomy: Anatomy) -> Space:
    """Return a space and what keeps a child from learning its images by heart; all of it is off at first.

    ``opt_averaging`` is the mean age of the weights that are averaged, as a share of the steps, 0 for the last ones
    alone (arXiv 1212.1824), and ``opt_mix_rate`` the share of the steps that show parts of two images in one (arXiv
    1905.04899). ``patch_drop_rate``, where the network has patches, is the share of them that a step does not see
    (arXiv 2208.07220). They are none of the papers' hyperparameters.

    Args:
        space: Hyperparameters without them.
        anatomy: The shape of the network.
    """
    ranges = [Range("opt_averaging", AVERAGING, 0.0), Range("opt_mix_rate", MIX_RATES, 0.0)]
    patches = [Range("patch_drop_rate", PATCH_DROP_RATES, 0.0)] if anatomy.has_patches else []
    return Space((*space.ranges, *ranges, *patches))
