"""Fuzz targets: what reads the files of others takes any bytes, and ends in a value or in its own error.

``python -m attacks.fuzz TARGET [OPTIONS OF LIBFUZZER]`` runs one under atheris, until it is stopped or finds something;
``make test-fuzz`` runs each for a quarter of a minute. Anything but the error that a target expects is a finding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from mu2net.core.component import Digest
from mu2net.errors import ComponentError, StoreError, UnknownNameError
from mu2net.store.backup import manifest_from_json
from mu2net.store.components import ComponentFiles, canonical_bytes, digest_of
from mu2net.store.config import config_from_toml
from mu2net.store.files import MAX_BYTES, Files
from mu2net.store.seal import states_of

_STORED = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


class OneFile(Files):
    """A file system in which every file has the same bytes.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, file: Path, limit: int = MAX_BYTES) -> bytes:
        """Return the bytes."""
        return self._data


def component(data: bytes) -> None:
    """Load a component: under its own digest, where only the content may be wrong, and under another one."""
    reader = ComponentFiles(Path("/nowhere"), OneFile(data))
    try:
        tensors = reader.load(digest_of(data))
    except ComponentError:
        pass
    else:
        if all(tensor.dtype in _STORED for tensor in tensors.values()):
            again = canonical_bytes(tensors)
            assert canonical_bytes(ComponentFiles(Path("/nowhere"), OneFile(again)).load(digest_of(again))) == again
    try:
        reader.load(Digest("0" * 64))
    except ComponentError:
        return
    raise AssertionError("bytes of another digest were loaded")


def manifest(data: bytes) -> None:
    """Read the manifest of a backup, and what is written of it again."""
    try:
        found = manifest_from_json(data, "the backup")
    except StoreError:
        return
    assert manifest_from_json(found.model_dump_json().encode(), "the backup") == found


def config(data: bytes) -> None:
    """Read ``mu2net.toml``, and what is written of it again."""
    try:
        found = config_from_toml(data, "mu2net.toml")
    except (StoreError, UnknownNameError):
        return
    text = found.to_toml()
    assert config_from_toml(text.encode(), "mu2net.toml").to_toml() == text


def seal(data: bytes) -> None:
    """Read the seal of a registry; what is believed is what was written, byte for byte."""
    try:
        states = states_of(data)
    except ValueError:
        return
    assert data.startswith("".join(state.to_line() for state in states).encode())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "component": component,
    "manifest": manifest,
    "config": config,
    "seal": seal,
}
"""All targets by name."""


def main(arguments: list[str]) -> None:
    """Run a target under atheris.

    Args:
        arguments: The target, and options of libFuzzer.
    """
    if not arguments or arguments[0] not in TARGETS:
        raise UnknownNameError("fuzz target", arguments[0] if arguments else "", TARGETS)
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments[1:]], TARGETS[arguments[0]])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
