"""Names: of tasks, data sets and roots."""

from __future__ import annotations

from pathlib import Path

from attacks.frame import Strike, attack
from attacks.make import ROOT, class_folders, system
from mu2net.data.source import TaskSource, parse_source
from mu2net.errors import ConfigError, RootError, SourceError
from mu2net.nn.roots import load_root
from mu2net.system import System


def _add(folder: Path, name: str) -> Strike:
    directory, photos = system(folder), class_folders(folder / "photos")
    return lambda: System.open(directory).add_task(name, photos)


@attack(ConfigError)
def task_named_like_a_path(folder: Path) -> Strike:
    """A task is called ``../../outside``."""
    return _add(folder, "../../outside")


@attack(ConfigError)
def task_named_by_a_terminal_code(folder: Path) -> Strike:
    """A task's name clears the screen of whoever lists it."""
    return _add(folder, "pets\x1b[2J")


@attack(ConfigError)
def task_name_of_a_megabyte(folder: Path) -> Strike:
    """A task's name has a million letters."""
    return _add(folder, "a" * 1_000_000)


@attack(ConfigError)
def task_named_like_an_option(folder: Path) -> Strike:
    """A task is called ``--yes``."""
    return _add(folder, "--yes")


@attack(SourceError)
def source_with_a_null(folder: Path) -> Strike:
    """A path ends early for the operating system, and late for Python."""
    return lambda: parse_source("photos\0/etc")


@attack(SourceError)
def data_set_named_like_a_path(folder: Path) -> Strike:
    """A data set on the hub is called ``../..``."""
    return lambda: TaskSource(name="attack", source="hf:../..").pinned()


@attack(RootError)
def root_named_like_a_path(folder: Path) -> Strike:
    """A root on the hub is called ``../..``."""
    return lambda: load_root("hf:../..")


@attack(RootError)
def root_of_a_trillion_parameters(folder: Path) -> Strike:
    """A random root of 10^12 by 10^12 is asked for."""
    return lambda: load_root(ROOT.replace("dim=8", "dim=999999999"))
