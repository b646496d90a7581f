"""Consistent copies of a system while it is used (docs/format.md: backup), and making a system of one.

A backup is a folder, or any place that fsspec can write to: component files by digest, a copy of the registry as one
transaction saw it, ``mu2net.toml``, and ``backup.json``, which is written last and names the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import fsspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import delete, select

from mu2net.core.component import Digest
from mu2net.errors import ConfigError, StoreError
from mu2net.store.components import SUFFIX, digest_of
from mu2net.store.config import CONFIG_NAME, MAX_CONFIG, config_from_toml
from mu2net.store.engine import driver_connection
from mu2net.store.files import MAX_BYTES, Files, nothing_lost, only_read
from mu2net.store.migrate import mu2net_version
from mu2net.store.reader import COMPONENTS_NAME, StoreReader
from mu2net.store.schema import LeaseRow, PathRow
from mu2net.store.seal import MAX_REGISTRY
from mu2net.store.store import REGISTRY_NAME, Store
from mu2net.store.verify import file_uses

MANIFEST_NAME = "backup.json"

_UNFINISHED = ".unfinished"

Copied = Callable[[int, int], None]
"""Told how many files are done, and of how many."""


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_MAX_MANIFEST = 2**28


class Manifest(BaseModel):
    """What ``backup.json`` holds.

    Args:
        format_version: Version of the layout.
        created_by: Version of mu2net that made the backup.
        created_at: When, in ISO 8601.
        registry: Name of the registry's copy.
        registry_digest: SHA-256 of its bytes.
        config_digest: SHA-256 of ``mu2net.toml``.
        files: Size of every component file by digest, in bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: int = Field(default=1, ge=1, le=1)
    created_by: str
    created_at: str
    registry: str = Field(pattern=r"^registry-[0-9a-f]{16}\.sqlite$")
    registry_digest: _Digest
    config_digest: _Digest
    files: dict[_Digest, Annotated[int, Field(ge=0, le=MAX_BYTES)]]


@dataclass(frozen=True)
class Backup:
    """What ``backup`` or ``restore`` did.

    Args:
        copied: Files that were copied.
        kept: Files that were there already.
        num_bytes: Bytes that were copied.
    """

    copied: int
    kept: int
    num_bytes: int


class Place:
    """A folder, or a place that fsspec can read and write.

    Args:
        where: A path or a URL such as ``s3://bucket/name`` or ``memory://name``.

    Raises:
        ConfigError: The URL has a scheme that is not known, or whose package is not installed.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        try:
            self._system, root = fsspec.core.url_to_fs(where)
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"{where!r} cannot be used: {error}; expected a folder, or a URL that fsspec knows, "
                "with its package installed"
            ) from error
        self._root = root.rstrip("/")

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, ``None`` where there is none."""
        with self._explained("read"):
            return int(self._system.size(self._path(name))) if self._system.isfile(self._path(name)) else None

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises:
            StoreError: It cannot be read, or is larger than ``limit`` bytes.
        """
        size = self.size(name)
        if size is not None and size > limit:
            raise StoreError(
                f"{name} in {self.where} has {size:,} bytes; expected at most {limit:,}; use another backup"
            )
        with self._explained("read"):
            data: bytes = self._system.cat_file(self._path(name))
            return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file; one that was there stays whole until the new one is.

        Raises:
            StoreError: It cannot be written.
        """
        path, unfinished = self._path(name), self._path(f"{name}{_UNFINISHED}")
        with self._explained("written"):
            self._system.makedirs(self._system._parent(path), exist_ok=True)
            self._system.pipe_file(unfinished, data)
            self._system.mv(unfinished, path)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is none."""
        with self._explained("written"):
            if self._system.isfile(self._path(name)):
                self._system.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _explained(self, verb: str) -> Any:
        return _Explained(self.where, verb)


@dataclass(frozen=True)
class _Explained:
    where: str
    verb: str

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise StoreError(
                f"{self.where} cannot be {self.verb}: {error.strerror or error}; check that it exists, its "
                "permissions, and the free space, then run the command again: what was copied is not copied twice"
            ) from error


def backup(store: StoreReader, where: str, progress: Copied = _silent) -> Backup:
    """Copy a system as one moment saw it; others may evolve and collect meanwhile.

    What is there already is not copied again: component files never change. The manifest is written last, so an
    interrupted backup leaves the one before it whole.

    Args:
        store: The system.
        where: A folder, or a URL that fsspec knows.
        progress: Told how many files are done.

    Raises:
        ConfigError: The place cannot be used, or the registry is no SQLite file.
        StoreError: A file cannot be read or written.
    """
    place = Place(where)
    if store.registry.seal is None:
        raise ConfigError(
            f"the registry of {store.directory} is a data base of its own; back it up with its own tools, "
            f"and the folder {COMPONENTS_NAME} with any"
        )
    with store.registry.reading() as session:
        everything = list(session.scalars(select(PathRow.id)))
    with only_read(f"system {store.directory}"), store.leases.reading(everything):
        with store.registry.reading() as session:
            image = driver_connection(session.connection()).serialize()
            files = [digest for digest, use in file_uses(session).items() if use.is_needed]
        config = store.files.read(store.directory / CONFIG_NAME)
        sizes = {digest: store.components.size(digest) for digest in sorted(files)}
        done = _copy(store, place, sizes, progress)
    old = _manifest_before(place)
    name = f"registry-{sha256(image).hexdigest()[:16]}.sqlite"
    place.write(name, image)
    if place.size(CONFIG_NAME) is None or place.read(CONFIG_NAME) != config:
        place.write(CONFIG_NAME, config)
    manifest = Manifest(
        created_by=mu2net_version(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        registry=name,
        registry_digest=sha256(image).hexdigest(),
        config_digest=sha256(config).hexdigest(),
        files={str(digest): size for digest, size in sizes.items()},
    )
    place.write(MANIFEST_NAME, manifest.model_dump_json(indent=1).encode())
    if old is not None and old.registry != name:
        place.remove(old.registry)
    return done


def restore(where: str, directory: Path, files: Files | None = None, progress: Copied = _silent) -> Backup:
    """Make a system of a backup; every file is hashed on the way.

    Args:
        where: The backup: a folder, or a URL that fsspec knows.
        directory: The folder of the new system, which must not hold one.
        files: The seam to the file system.
        progress: Told how many files are done.

    Raises:
        ConfigError: The folder holds a system already, or the place cannot be used.
        StoreError: The backup is incomplete or damaged; names the file.
    """
    files, place = files or Files(), Place(where)
    manifest = _manifest(place)
    with only_read(str(directory)):
        is_system = files.is_file(directory / CONFIG_NAME)
        is_started = files.is_file(directory / REGISTRY_NAME)
        if is_system or (is_started and _digest(files, directory / REGISTRY_NAME) != manifest.registry_digest):
            raise ConfigError(f"{directory} holds a system already; name a new folder")
    image, config = place.read(manifest.registry, MAX_REGISTRY), place.read(CONFIG_NAME, MAX_CONFIG)
    for name, data, digest in (
        (manifest.registry, image, manifest.registry_digest),
        (CONFIG_NAME, config, manifest.config_digest),
    ):
        if sha256(data).hexdigest() != digest:
            raise StoreError(f"{name} in {where} is damaged: {MANIFEST_NAME} says other bytes; use another backup")
    if config_from_toml(config, f"{CONFIG_NAME} in {where}").registry_url is not None:
        raise StoreError(
            f"{CONFIG_NAME} in {where} names a registry elsewhere (registry_url), which no backup does; use another one"
        )
    total = 0
    with nothing_lost(f"system {directory}"):
        files.make_folder(directory)
        for number, (digest, size) in enumerate(sorted(manifest.files.items())):
            data = place.read(_file_name(Digest(digest)))
            if len(data) != size or digest_of(data) != digest:
                raise StoreError(f"component {digest} in {where} is damaged; use another backup")
            target = directory / _file_name(Digest(digest))
            files.make_folder(target.parent)
            files.replace(target, data, 0o444)
            total += size
            progress(number + 1, len(manifest.files))
        files.replace(directory / REGISTRY_NAME, image, 0o644)
        files.replace(directory / CONFIG_NAME, config, 0o644)
    store = Store.open(directory, files)
    with store.registry.writing() as session:  # also seals it
        session.execute(delete(LeaseRow))
    return Backup(len(manifest.files), 0, total)


def _digest(files: Files, file: Path) -> str:
    return sha256(files.read(file)).hexdigest()


def _copy(store: StoreReader, place: Place, sizes: dict[Digest, int], progress: Copied) -> Backup:
    copied = kept = total = 0
    for number, (digest, size) in enumerate(sizes.items()):
        name = _file_name(digest)
        if place.size(name) == size:
            kept += 1
        else:
            place.write(name, store.components.read(digest))
            copied, total = copied + 1, total + size
        progress(number + 1, len(sizes))
    return Backup(copied, kept, total)


def _file_name(digest: Digest) -> str:
    """Return where a component file lies, seen from the folder of a system or backup."""
    return f"{COMPONENTS_NAME}/sha256/{digest[:2]}/{digest}{SUFFIX}"


def _manifest_before(place: Place) -> Manifest | None:
    """Return the manifest of the backup that is there; ``None`` where there is none, or none that can be read."""
    try:
        return _manifest(place)
    except StoreError:
        return None


def _manifest(place: Place) -> Manifest:
    if place.size(MANIFEST_NAME) is None:
        raise StoreError(
            f"{place.where} is no backup: it has no {MANIFEST_NAME}; one that was interrupted at first has none"
        )
    return manifest_from_json(place.read(MANIFEST_NAME, _MAX_MANIFEST), place.where)


def manifest_from_json(data: bytes, where: str) -> Manifest:
    """Return what a ``backup.json`` says.

    Args:
        data: The file's bytes.
        where: What messages call the backup.

    Raises:
        StoreError: It is damaged, or of a later version.
    """
    try:
        return Manifest(**json.loads(data))
    except (ValueError, TypeError, RecursionError) as error:
        problem = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = f"key {'.'.join(map(str, first['loc']))!r}: {first['msg']}"
        raise StoreError(f"{MANIFEST_NAME} in {where} is damaged ({problem}); use another backup") from error
