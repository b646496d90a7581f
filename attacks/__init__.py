"""Hostile input, made by hand: an attack is a function that makes its files and returns what a victim does with them.

``python -m attacks`` runs them all, or those whose names are given. Each runs in a process of its own, and must end in
the error that it names, within a second and within bounded memory (docs/format.md: threat model). The files are made
when they are needed, because some are hostile to version control too: pipes, links that loop, files of terabytes.
"""

from __future__ import annotations

from attacks.frame import ATTACKS, MAX_MEMORY, MAX_SECONDS, Attack, Outcome, run

# Their attacks are listed when they are imported.
from attacks import backups, components, configs, folders, images, names, registries, tables, weights  # isort: skip

__all__ = [
    "ATTACKS",
    "MAX_MEMORY",
    "MAX_SECONDS",
    "Attack",
    "Outcome",
    "backups",
    "components",
    "configs",
    "folders",
    "images",
    "names",
    "registries",
    "run",
    "tables",
    "weights",
]
