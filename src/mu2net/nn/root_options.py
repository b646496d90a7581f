"""Options in the names of roots: ``key=value`` pairs, checked."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from mu2net.errors import RootError, UnknownNameError
from mu2net.nn.backbone import Normalisation
from mu2net.nn.timm_format import Settings, triple
from mu2net.nn.vit import Vit

_REQUIRED = ("dim", "depth", "heads", "patch", "image")
_HALF = Normalisation((127.5,) * 3, (127.5,) * 3)


def parse_pairs(text: str, separator: str, known: Collection[str], owner: str) -> dict[str, str]:
    """Return the values by key in ``key=value`` pairs.

    Args:
        text: The pairs.
        separator: What stands between pairs.
        known: The keys that exist.
        owner: What they belong to, for messages.

    Raises:
        UnknownNameError: A key does not exist.
        RootError: Something is not a pair, or a key comes twice.
    """
    values: dict[str, str] = {}
    for pair in text.split(separator):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            raise RootError(f"{owner}: {pair!r} is not of the form key=value; the keys are {', '.join(known)}")
        if key not in known:
            raise UnknownNameError(f"option of {owner}", key, known)
        if key in values:
            raise RootError(f"{owner}: option {key!r} is given twice")
        values[key] = value
    return values


def split_options(text: str, settings: Settings, owner: str) -> tuple[str, Settings]:
    """Return what stands before ``?key=value&…``, and the settings with these overrides.

    Keys are ``heads``, ``eps``, ``mean`` and ``std``; the last two are three numbers for RGB in 0..1, as in
    ``?heads=6&mean=0.5,0.5,0.5&std=0.5,0.5,0.5``.

    Args:
        text: Path or repository, perhaps with options.
        settings: The settings without overrides.
        owner: What they belong to, for messages.

    Raises:
        UnknownNameError: An option does not exist.
        RootError: A value is not possible.
    """
    rest, mark, options = text.rpartition("?")
    if not mark or "=" not in options:
        return text, settings
    for key, value in parse_pairs(options, "&", ("heads", "mean", "std", "eps"), owner).items():
        name = f"{owner}: option {key!r}"
        if key == "heads":
            settings = replace(settings, heads=_integer(value, name))
        elif key == "eps":
            settings = replace(settings, eps=_positive(value, name))
        elif key == "mean":
            settings = replace(settings, mean=triple(value.split(","), name))
        else:
            settings = replace(settings, std=triple(value.split(","), name))
    return rest, settings


def random_vit(text: str, owner: str) -> tuple[Vit, float | None]:
    """Return the backbone that ``dim=192,depth=3,heads=3,patch=4,image=32`` describes, and LayerScale's initial value.

    Optional keys: ``mlp`` (inner width, 4·dim by default), ``layerscale`` (initial value; none by default) and ``eps``
    of the LayerNorms (1e-6 by default). Images are normalised to [-1, 1].

    Args:
        text: The pairs.
        owner: What they belong to, for messages.

    Raises:
        UnknownNameError: An option does not exist.
        RootError: An option is missing, or a value is not possible.
    """
    values = parse_pairs(text, ",", (*_REQUIRED, "mlp", "layerscale", "eps"), owner)
    if missing := [key for key in _REQUIRED if key not in values]:
        raise RootError(
            f"{owner}: {', '.join(missing)} missing; for instance vit:dim=192,depth=3,heads=3,patch=4,image=32"
        )
    numbers = {key: _integer(values[key], f"{owner}: option {key!r}") for key in _REQUIRED}
    mlp = _integer(values["mlp"], f"{owner}: option 'mlp'") if "mlp" in values else 4 * numbers["dim"]
    eps = _positive(values.get("eps", "1e-6"), f"{owner}: option 'eps'")
    scale = _positive(values["layerscale"], f"{owner}: option 'layerscale'") if "layerscale" in values else None
    backbone = Vit(
        dim=numbers["dim"],
        depth=numbers["depth"],
        heads=numbers["heads"],
        patch_size=numbers["patch"],
        image_size=numbers["image"],
        mlp_dim=mlp,
        normalisation=_HALF,
        layer_scale=scale is not None,
        eps=eps,
    )
    return backbone, scale


_DIGITS = 9


def _integer(value: str, owner: str) -> int:
    if not value.isdecimal() or len(value) > _DIGITS or int(value) < 1:
        raise RootError(f"{owner} is {value[:40]!r}; expected a positive integer of at most {_DIGITS} digits")
    return int(value)


def _positive(value: str, owner: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise RootError(f"{owner} is {value!r}; expected a positive number")
    return number
