"""Finding and opening the system that a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mu2net.cli.options import SYSTEM_VARIABLE
from mu2net.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from mu2net.system import System

MARKER = "mu2net.toml"
"""The file by which a folder is known to be a system."""


def system_class() -> type[System]:
    """Return ``System``; PyTorch is imported here and not before."""
    from mu2net.system import System

    return System


def system_directory(context: typer.Context, system: Path | None) -> Path:
    """Return the folder of the system.

    Args:
        context: The context of the command, which knows ``mu2net --system`` and the environment.
        system: The command's own ``--system``, which counts first.
    """
    if system is not None:
        return system
    inherited: Path = context.find_root().params["system"]
    return inherited


def existing_system_directory(context: typer.Context, system: Path | None) -> Path:
    """Return the folder of a system that must exist: where none is named, also the only one in the current folder.

    Args:
        context: The context of the command.
        system: The command's own ``--system``.

    Raises:
        ConfigError: None is named, and there are several.
    """
    directory = system_directory(context, system)
    source = context.find_root().get_parameter_source("system")
    is_named = system is not None or source is None or source.name != "DEFAULT"
    return directory if is_named or directory.exists() else _only_system_here() or directory


def _only_system_here() -> Path | None:
    """Return the one system in the current folder, whatever its name, and say so; ``None`` where there is none.

    Raises:
        ConfigError: There are several.
    """
    found = sorted(marker.parent for marker in Path().glob(f"*/{MARKER}"))
    if len(found) > 1:
        names = ", ".join(f"'{folder}'" for folder in found)
        raise ConfigError(
            f"there are several systems here: {names}. Say which one with --system DIR or {SYSTEM_VARIABLE}=DIR"
        )
    if not found:
        return None
    typer.echo(f"using the system in '{found[0]}', the only one here", err=True)
    return found[0]


def open_system(context: typer.Context, system: Path | None) -> System:
    """Open the system that a command works on.

    Args:
        context: The context of the command.
        system: The command's own ``--system``.

    Raises:
        StoreError: There is no system in the folder; the message says what to do.
        ConfigError: The folder is a file.
    """
    directory = existing_system_directory(context, system)
    if directory.is_file():
        raise ConfigError(f"system '{directory}' is a file; expected the folder that `mu2net init` made")
    if not (directory / MARKER).is_file():
        found = "holds no system" if directory.exists() else "does not exist"
        raise StoreError(
            f"no system here: folder '{directory}' {found}. Say where the system is with --system DIR or "
            f"{SYSTEM_VARIABLE}=DIR, or create it: mu2net init --system '{directory}'"
        )
    return system_class().open(directory)
