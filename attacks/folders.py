"""Folders of photographs: links, pipes and names."""

from __future__ import annotations

from pathlib import Path

from attacks.frame import Strike, attack
from attacks.make import class_folders, pipe
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
from mu2net.errors import ImageError, SourceError


def _read(folder: Path, **options: object) -> Strike:
    return lambda: load_task(TaskSource(name="attack", source=str(folder), **options), folder.parent / "cache")  # type: ignore[arg-type]


@attack(SourceError)
def folder_that_contains_itself(folder: Path) -> Strike:
    """A link leads from a class folder back to the top."""
    root = class_folders(folder / "photos")
    (root / "class0" / "again").symlink_to(root)
    return _read(root)


@attack(SourceError)
def folder_with_a_link_to_itself(folder: Path) -> Strike:
    """A link is its own target."""
    root = class_folders(folder / "photos")
    (root / "loop").symlink_to(root / "loop")
    return _read(root)


@attack(SourceError)
def folder_with_a_pipe(folder: Path) -> Strike:
    """One of the images is a named pipe."""
    root = class_folders(folder / "photos")
    pipe(root / "class0" / "aaa.png")
    return _read(root)


@attack(SourceError)
def folder_with_a_device(folder: Path) -> Strike:
    """One of the images is a link to a device without end."""
    root = class_folders(folder / "photos")
    (root / "class0" / "aaa.png").symlink_to("/dev/zero")
    return _read(root)


@attack(ImageError)
def folder_with_a_link_to_a_secret(folder: Path) -> Strike:
    """One of the images is a link to a file outside, which is no image."""
    root = class_folders(folder / "photos")
    (folder / "secret").write_text("password")
    (root / "class0" / "aaa.png").symlink_to(folder / "secret")
    return _read(root)
