"""What lies in a folder or file: class folders of images, or tables, and which split each belongs to.

Only names, sizes and times are read here, no content.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Literal

from PIL import Image

from mu2net.data.source import KINDS, ROLES, Role
from mu2net.errors import SourceError

Kind = Literal["images", "parquet", "csv"]
"""What a folder holds."""

TABLES: dict[str, Kind] = {".parquet": "parquet", ".csv": "csv"}
"""The kinds of table by file suffix."""

_IGNORED = {".txt", ".md", ".rst", ".json", ".xml", ".html", ".yaml", ".yml", ".db", ".ini", ".log", ".lock"}
_WORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(_WORDS)})(?![a-z])")


@dataclass(frozen=True)
class Entry:
    """A file below a listed folder.

    Args:
        parts: Its path relative to the folder.
        size: Bytes.
        mtime: Time of the last change, in nanoseconds.
    """

    parts: tuple[str, ...]
    size: int
    mtime: int


@dataclass(frozen=True)
class Listing:
    """The files of a source.

    Args:
        kind: What they are.
        root: The folder that they lie in.
        files: The files of every split that exists, in their order.
        classes: For images, the class folders of every split, in order.
        stamp: SHA-256 over all names, sizes and times; changes whenever the content may have changed.
        depth: For images, how many folders lie above the class folders: 1 with split folders, else 0.
    """

    kind: Kind
    root: Path
    files: dict[Role, tuple[Entry, ...]]
    classes: dict[Role, tuple[str, ...]]
    stamp: str
    depth: int = 0

    def path(self, entry: Entry) -> Path:
        """Return where a file lies."""
        return self.root.joinpath(*entry.parts)


def list_path(path: Path) -> Listing:
    """Return what a path holds.

    Args:
        path: A folder of class folders (with or without split folders), a Parquet or CSV file, or a folder of them.

    Raises:
        SourceError: It is missing, empty, unreadable, of an unsupported type, or its layout is ambiguous.
    """
    path = path.absolute()
    try:
        if not path.exists():
            raise _missing(path)
        if not path.is_dir():
            return _list_file(path)
        entries, folders = _walk(path)
    except OSError as error:
        raise SourceError(
            f"source '{path}' cannot be read ({error.strerror or error}): {error.filename or path}; "
            "check its permissions"
        ) from error
    return _list_folder(path, entries, folders)


def _missing(path: Path) -> SourceError:
    parent = path.parent
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    hint = f"did you mean '{path.with_name(close[0])}'?" if close else f"expected {KINDS}"
    return SourceError(f"source '{path}' does not exist; {hint}")


def _list_file(path: Path) -> Listing:
    kind = TABLES.get(path.suffix.lower())
    if kind is None:
        raise SourceError(f"source '{path}' has the unsupported file type '{path.suffix}'; expected {KINDS}")
    if not path.is_file():
        raise SourceError(f"source '{path}' is a pipe, socket or device; expected {KINDS}")
    if not os.access(path, os.R_OK):
        raise SourceError(f"source '{path}' cannot be read; check its permissions")
    stat = path.stat()
    entry = Entry((path.name,), stat.st_size, stat.st_mtime_ns)
    return Listing(kind, path.parent, {"train": (entry,)}, {}, _stamp([entry]))


def _stamp(entries: list[Entry], folders: list[tuple[str, ...]] | None = None) -> str:
    rows = [[*entry.parts, entry.size, entry.mtime] for entry in entries]
    return hashlib.sha256(json.dumps([rows, folders or []]).encode()).hexdigest()


def _walk(root: Path) -> tuple[list[Entry], list[tuple[str, ...]]]:
    """Return all visible files and folders below a folder, sorted by code points; links are followed."""
    entries: list[Entry] = []
    folders: list[tuple[str, ...]] = []

    def visit(folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]) -> None:
        stat = folder.stat()
        identity = (stat.st_dev, stat.st_ino)
        if identity in above:
            raise SourceError(f"folder '{folder}' contains itself through a link; remove the link")
        with os.scandir(folder) as found:
            children = sorted(found, key=lambda child: child.name)
        for child in children:
            if child.name.startswith((".", "__")):
                continue
            here = (*parts, child.name)
            info = _status(child)
            if S_ISDIR(info.st_mode):
                folders.append(here)
                visit(folder / child.name, here, above | {identity})
            elif not (S_ISREG(info.st_mode) or S_ISLNK(info.st_mode)):
                raise SourceError(
                    f"'{folder / child.name}' is a pipe, socket or device; expected images and folders: remove it"
                )
            else:
                entries.append(Entry(here, info.st_size, info.st_mtime_ns))

    visit(root, (), frozenset())
    return sorted(entries, key=lambda entry: entry.parts), sorted(folders)


def _status(child: os.DirEntry[str]) -> os.stat_result:
    """Return what a name in a folder stands for; an image that is a link to nowhere stands for the link itself.

    Such an image is a bad one like others, to be named or skipped when it is decoded.
    """
    try:
        return child.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP) or not child.is_symlink():
            raise
    link = Path(child.path)
    if link.suffix.lower() not in Image.registered_extensions():
        raise SourceError(f"link '{link}' leads nowhere (to '{link.readlink()}'); repair or remove it")
    return child.stat(follow_symlinks=False)


def _suffix(entry: Entry) -> str:
    return Path(entry.parts[-1]).suffix.lower()


def _list_folder(root: Path, entries: list[Entry], folders: list[tuple[str, ...]]) -> Listing:
    known = Image.registered_extensions()
    tables = [entry for entry in entries if _suffix(entry) in TABLES]
    others = [entry for entry in entries if _suffix(entry) not in TABLES and _suffix(entry) not in _IGNORED]
    images = [entry for entry in others if _suffix(entry) in known or (len(entry.parts) > 1 and not tables)]
    if tables:
        return _list_tables(root, tables, images)
    if not images:
        raise SourceError(f"folder '{root}' is empty: it holds no images and no tables; expected {KINDS}")
    return _list_images(root, images, folders)


def _list_tables(root: Path, tables: list[Entry], images: list[Entry]) -> Listing:
    kinds = sorted({TABLES[_suffix(entry)] for entry in tables})
    if len(kinds) > 1:
        raise SourceError(f"folder '{root}' mixes {' and '.join(kinds)} tables; name one file as the source")
    found = [(entry, _table_role(root, entry)) for entry in tables]
    unknown = [entry for entry, role in found if role is None]
    if images and (unknown or kinds != ["csv"]):  # train.csv beside its images is clear, labels.csv may be anything
        raise SourceError(
            f"folder '{root}' holds both tables ('{'/'.join(tables[0].parts)}') and images "
            f"('{'/'.join(images[0].parts)}'); name the table itself as the source, or move it out of the folder"
        )
    if unknown and len(unknown) < len(found):
        raise SourceError(
            f"folder '{root}': cannot tell which split '{'/'.join(unknown[0].parts)}' belongs to; "
            "expected train, val or test in its name, as in the other files"
        )
    files: dict[Role, tuple[Entry, ...]] = {}
    for role in ROLES:
        chosen = tuple(entry for entry, its in found if (its or "train") == role)
        if chosen:
            files[role] = chosen
    return Listing(kinds[0], root, files, {}, _stamp(tables))


def _table_role(root: Path, entry: Entry) -> Role | None:
    """Return the split that a table's name says, else that of the nearest folder whose name says one."""
    for part in reversed((*entry.parts[:-1], Path(entry.parts[-1]).stem)):
        roles = {_WORDS[word] for word in _WORD.findall(part.lower())}
        if len(roles) > 1:
            raise SourceError(f"folder '{root}': '{part}' names several splits ({', '.join(sorted(roles))}); rename it")
        if roles:
            return roles.pop()
    return None


def _list_images(root: Path, images: list[Entry], folders: list[tuple[str, ...]]) -> Listing:
    split_of: dict[str, Role] = {
        parts[0]: _WORDS[parts[0].lower()] for parts in folders if len(parts) == 1 and parts[0].lower() in _WORDS
    }
    if split_of:
        _check_split_folders(root, split_of, images)
    above_of: dict[Role, tuple[str, ...]] = {role: (name,) for name, role in split_of.items()} or {"train": ()}
    files: dict[Role, tuple[Entry, ...]] = {}
    classes: dict[Role, tuple[str, ...]] = {}
    for role in ROLES:
        if role in above_of:
            files[role], classes[role] = _classes(root, above_of[role], images, folders)
    return Listing("images", root, files, classes, _stamp(images, folders), depth=1 if split_of else 0)


def _check_split_folders(root: Path, split_of: dict[str, Role], images: list[Entry]) -> None:
    if "train" not in split_of.values():
        raise SourceError(
            f"folder '{root}' has a split folder {sorted(split_of)[0]!r} but no 'train'; add one, or "
            "rename the folder if it is a class"
        )
    if len(set(split_of.values())) < len(split_of):
        raise SourceError(f"folder '{root}' has two folders for one split: {', '.join(sorted(split_of))}; keep one")
    for entry in images:
        if entry.parts[0] not in split_of:
            raise SourceError(
                f"folder '{root}' has split folders ({', '.join(sorted(split_of))}), and images elsewhere: "
                f"'{'/'.join(entry.parts)}'; move them into a split, or out of the folder"
            )


def _classes(
    root: Path, above: tuple[str, ...], images: list[Entry], folders: list[tuple[str, ...]]
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Return the images below a folder of class folders, and the class names."""
    depth = len(above)
    chosen = tuple(entry for entry in images if entry.parts[:depth] == above)
    known = Image.registered_extensions()
    for entry in chosen:
        if len(entry.parts) == depth + 1 and _suffix(entry) in known:
            raise SourceError(
                f"image '{'/'.join(entry.parts)}' in '{root}' lies in no class folder; expected one folder per class, "
                "or a table that names the labels"
            )
    names = tuple(parts[-1] for parts in folders if len(parts) == depth + 1 and parts[:depth] == above)
    return tuple(entry for entry in chosen if len(entry.parts) > depth + 1), names


def split_role(name: str) -> Role | None:
    """Return the split that a name means as a whole (``train``, ``valid``, …), else ``None``."""
    return _WORDS.get(name.lower())


def iter_paths(listing: Listing, role: Role) -> Iterator[Path]:
    """Yield the files of a split, in order."""
    for entry in listing.files.get(role, ()):
        yield listing.path(entry)
