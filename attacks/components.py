"""Component files whose digest is right, and whose content is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from attacks.frame import Strike, attack
from attacks.make import alter, sparse, system, tensors_file
from mu2net.core.path import ROOT_ID
from mu2net.errors import ComponentError, RootError
from mu2net.store.store import Store
from mu2net.system import System


def _foreign(folder: Path, data: bytes) -> tuple[Path, str]:
    """Make a system whose first component is ``data``, with a row that agrees; return the folder and the digest."""
    directory = system(folder)
    old = Store.open(directory).path(ROOT_ID).digests[0]
    new = hashlib.sha256(data).hexdigest()
    file = directory / "components" / "sha256" / new[:2] / f"{new}.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    alter(
        directory,
        f"UPDATE components SET digest = '{new}', num_bytes = {len(data)} WHERE digest = '{old}'",
        f"UPDATE path_slots SET digest = '{new}' WHERE digest = '{old}'",
        f"UPDATE origins SET digest = '{new}' WHERE digest = '{old}'",
    )
    return directory, new


def _load(folder: Path, data: bytes) -> Strike:
    directory, digest = _foreign(folder, data)
    return lambda: Store.open(directory).load(digest)  # type: ignore[arg-type]


@attack(ComponentError)
def component_that_is_no_safetensors(folder: Path) -> Strike:
    """The bytes are those that the name says, and no tensors at all."""
    return _load(folder, b"not a component")


@attack(ComponentError)
def component_with_a_header_that_lies(folder: Path) -> Strike:
    """The bytes are those that the name says; the header speaks of a terabyte."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}).encode()
    return _load(folder, len(header).to_bytes(8, "little") + header)


@attack(RootError)
def component_of_another_network(folder: Path) -> Strike:
    """The tensors are sound, and do not fit the slot."""
    directory, _ = _foreign(folder, tensors_file({"weight": torch.zeros(3)}))

    def strike() -> None:
        opened = System.open(directory)
        store, backbone = Store.open(directory), opened._backbone
        first = store.root().components[0]
        backbone.module(first.slot, store.load(first.digest))

    return strike


@attack(ComponentError)
def component_of_a_terabyte(folder: Path) -> Strike:
    """A file in the component folder has a terabyte."""
    directory = system(folder)
    store = Store.open(directory)
    digest = store.root().digests[0]
    store.components.file(digest).unlink()
    sparse(store.components.file(digest), 2**40)
    return lambda: store.load(digest)


@attack(ComponentError)
def component_behind_a_link(folder: Path) -> Strike:
    """A component is a link to a secret."""
    directory = system(folder)
    (folder / "secret").write_text("password")
    store = Store.open(directory)
    digest = store.root().digests[0]
    store.components.file(digest).unlink()
    store.components.file(digest).symlink_to(folder / "secret")
    return lambda: store.load(digest)
