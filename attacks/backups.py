"""Backups from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from attacks.frame import Strike, attack
from attacks.make import sparse, store
from mu2net.errors import StoreError
from mu2net.store.backup import MANIFEST_NAME, backup, restore
from mu2net.store.store import Store


def _restored(folder: Path, change: Callable[[dict[str, Any], Path], None]) -> Strike:
    """Make a backup, change its manifest, and restore it."""
    copy = folder / "backup"
    backup(Store.open(store(folder)), str(copy))
    manifest = json.loads((copy / MANIFEST_NAME).read_text())
    change(manifest, copy)
    (copy / MANIFEST_NAME).write_text(json.dumps(manifest))
    return lambda: restore(str(copy), folder / "restored")


@attack(StoreError)
def backup_whose_component_is_a_path(folder: Path) -> Strike:
    """A component is called ``../../outside``: restoring it would write there."""
    return _restored(folder, lambda manifest, _: manifest["files"].update({"../../outside": 8}))


@attack(StoreError)
def backup_whose_registry_is_a_path(folder: Path) -> Strike:
    """The registry is a file outside of the backup."""

    def change(manifest: dict[str, Any], copy: Path) -> None:
        (copy.parent / "secret").write_text("password")
        manifest |= {"registry": "../secret", "registry_digest": sha256(b"password").hexdigest()}

    return _restored(folder, change)


@attack(StoreError)
def backup_with_a_registry_elsewhere(folder: Path) -> Strike:
    """The configuration names a data base of the attacker's."""

    def change(manifest: dict[str, Any], copy: Path) -> None:
        config = (copy / "mu2net.toml").read_text() + 'registry_url = "postgresql://attacker.example/x"\n'
        (copy / "mu2net.toml").write_text(config)
        manifest["config_digest"] = sha256(config.encode()).hexdigest()

    return _restored(folder, change)


@attack(StoreError)
def backup_with_a_manifest_without_end(folder: Path) -> Strike:
    """The manifest is a hundred thousand open brackets."""
    strike = _restored(folder, lambda manifest, _: None)
    (folder / "backup" / MANIFEST_NAME).write_text("[" * 100_000)
    return strike


@attack(StoreError)
def backup_with_a_manifest_of_a_terabyte(folder: Path) -> Strike:
    """The manifest has a terabyte."""
    strike = _restored(folder, lambda manifest, _: None)
    sparse(folder / "backup" / MANIFEST_NAME, 2**40)
    return strike


@attack(StoreError)
def backup_with_a_component_of_a_terabyte(folder: Path) -> Strike:
    """A component of the backup has a terabyte."""

    def change(manifest: dict[str, Any], copy: Path) -> None:
        digest = next(iter(manifest["files"]))
        file = copy / "components" / "sha256" / digest[:2] / f"{digest}.safetensors"
        file.unlink()
        sparse(file, 2**40)

    return _restored(folder, change)


@attack(StoreError)
def backup_of_the_future(folder: Path) -> Strike:
    """The format is of a version that does not exist yet."""
    return _restored(folder, lambda manifest, _: manifest.update(format_version=2**40))
