"""Make a system as a committed example of its format: ``python tests/formats/make.py ARCHIVE.tar.gz``.

The archives of this folder were made by the version that wrote what their name says, and are never made again. This
script uses only what the first version had.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from mu2net.system import System

ROOT = "vit:dim=8,depth=2,heads=2,patch=4,image=8"
SMALL = {
    "generation_size": 2,
    "children": 2,
    "batch_size": 16,
    "num_validations": 1,
    "examples_per_validation": 64,
    "attention": "sdpa",
    "precision": "float32",
    "threads": 1,
    "workers": 1,
}


def make(directory: Path) -> None:
    """Make a system of two tasks; the second was evolved twice, and the second builds on what there is."""
    system = System.create(directory, root=ROOT, seed=3)
    system.add_task("digits", "demo:digits")
    system.evolve("digits", agent="mu2net", seed=1, **SMALL)
    system.add_task("shapes", "demo:shapes", is_private=True)
    for seed in (2, 3):
        system.evolve("shapes", agent="mu2net", seed=seed, **SMALL)
    assert system.verify().is_intact


def main(archive: Path) -> None:
    """Make the system and pack it, without its caches, the same bytes for the same files."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "system")

        def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            return None if entry.name.startswith("system/cache") else entry

        with tarfile.open(archive, "w:gz") as packed:
            packed.add(Path(folder) / "system", "system", filter=plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
