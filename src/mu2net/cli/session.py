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


def open_system(context: typer.Context, system: Path | None) -> System:
    """Open the system that a command works on.

    Args:
        context: The context of the command.
        system: The command's own ``--system``.

    Raises:
        StoreError: There is no system in the folder; the message says what to do.
        ConfigError: The folder is a file.
    """
    directory = system_directory(context, system)
    if directory.is_file():
        raise ConfigError(f"system '{directory}' is a file; expected the folder that `mu2net init` made")
    if not (directory / MARKER).is_file():
        found = "holds no system" if directory.exists() else "does not exist"
        raise StoreError(
            f"no system here: folder '{directory}' {found}. Say where the system is with --system DIR or "
            f"{SYSTEM_VARIABLE}=DIR, or create it: mu2net init --system '{directory}'"
        )
    return system_class().open(directory)
