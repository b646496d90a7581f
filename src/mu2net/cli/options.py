"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mu2net.errors import ConfigError

DEFAULT_SYSTEM = Path("mu2net-system")
"""The folder of the system where nothing else is said."""

SYSTEM_VARIABLE = "MU2NET_SYSTEM"
"""The environment variable that names the folder of the system."""

SystemOption = Annotated[
    Path | None,
    typer.Option(
        "--system",
        metavar="DIR",
        help="Folder of the system; else MU2NET_SYSTEM, else ./mu2net-system, else the only system here.",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", re.ASCII)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_duration(text: str) -> float:
    """Return a time in seconds.

    Args:
        text: ``90s``, ``10m``, ``1h30m``, or a plain number of seconds.

    Raises:
        ConfigError: The text is no time, or the time is zero.
    """
    compact = text.strip().lower()
    match = _DURATION.fullmatch(compact)
    if re.fullmatch(r"\d+(?:\.\d+)?", compact, re.ASCII):
        seconds = float(compact)
    elif match and any(match.groups()):
        hours, minutes, rest = (float(group or 0) for group in match.groups())
        seconds = 3600 * hours + 60 * minutes + rest
    else:
        raise ConfigError(f"--time is {text!r}; expected a time such as 90s, 10m, 1h30m, or a number of seconds")
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--time is {text!r}; expected more than 0 seconds")
    return seconds


def parse_size(option: str, text: str) -> int:
    """Return a size in bytes.

    Args:
        option: Name of the option, for the message.
        text: ``500MB``, ``20GB``, ``1.5TB`` (powers of 1,000), or a plain number of bytes.

    Raises:
        ConfigError: The text is no size.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise ConfigError(f"{option} is {text!r}; expected a size such as 500MB, 20GB, or 0")
    return int(float(match[1]) * _UNITS[match[2]])


def parse_settings(texts: Iterable[str]) -> dict[str, int | float | str | bool]:
    """Return hyperparameters by name.

    Args:
        texts: ``NAME=VALUE``; ``true`` and ``false`` are booleans, what reads as a number is one.

    Raises:
        ConfigError: A text is not ``NAME=VALUE``, or a name is given twice.
    """
    settings: dict[str, int | float | str | bool] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"--set is {text!r}; expected NAME=VALUE, for instance --set opt_lr=0.02")
        if name in settings:
            raise ConfigError(f"--set gives hyperparameter {name!r} twice; give it once")
        settings[name] = _value(value)
    return settings


def _value(text: str) -> int | float | str | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def parse_share(text: str) -> float:
    """Return a share in ]0, 1].

    Args:
        text: ``5%`` or ``0.05``.

    Raises:
        ConfigError: The text is no share.
    """
    compact = text.strip()
    number, is_percent = compact.removesuffix("%").strip(), compact.endswith("%")
    if re.fullmatch(r"\d+(?:\.\d+)?", number, re.ASCII):
        share = float(number) / (100 if is_percent else 1)
        if 0.0 < share <= 1.0:
            return share
    raise ConfigError(f"{text!r} is no share; expected for instance 5% or 0.05")
