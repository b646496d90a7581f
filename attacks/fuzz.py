"""Fuzz targets: what reads the files of others takes any bytes, and ends in a value or in its own error.

``python -m attacks.fuzz TARGET [OPTIONS OF LIBFUZZER]`` runs one under atheris, until it is stopped or finds something;
``make test-fuzz`` runs each for a quarter of a minute. Anything but the error that a target expects is a finding.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType

import torch

from mu2net.core.component import Digest
from mu2net.errors import ComponentError, StoreError, UnknownNameError
from mu2net.store import backup, components
from mu2net.store import config as config_module
from mu2net.store import seal as seal_module
from mu2net.store.backup import Manifest, manifest_from_json
from mu2net.store.components import ComponentFiles, canonical_bytes, digest_of
from mu2net.store.config import SystemConfig, config_from_toml
from mu2net.store.files import MAX_BYTES, Files
from mu2net.store.seal import State, own_digest, states_of

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


def honest() -> dict[str, bytes]:
    """Return for every target a file that is what it should be, from which others are made."""
    line = State(7, 3_040_001, "a" * 32).to_line()
    manifest = Manifest(
        created_by="0.1.0",
        created_at="2026-11-25",
        registry=f"registry-{'a' * 16}.sqlite",
        registry_digest="b" * 64,
        config_digest="c" * 64,
        files={"d" * 64: 8},
    )
    return {
        "component": canonical_bytes({"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(0)}),
        "manifest": manifest.model_dump_json().encode(),
        "config": SystemConfig(root="tiny", backbone={"dim": 4}).to_toml().encode(),
        "seal": f"{line}{own_digest(line)}\n".encode(),
    }


def _readers() -> Iterator[FunctionType]:
    """Yield the functions whose branches the fuzzer shall see; those of all libraries would take minutes."""
    for module in (backup, components, config_module, seal_module, json.decoder, tomllib._parser):  # type: ignore[attr-defined]
        for value in vars(module).values():
            for function in vars(value).values() if isinstance(value, type) else (value,):
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    yield function


def main(arguments: list[str]) -> None:
    """Run a target under atheris.

    Args:
        arguments: The target, and options of libFuzzer.
    """
    if not arguments or arguments[0] not in TARGETS:
        raise UnknownNameError("fuzz target", arguments[0] if arguments else "", TARGETS)
    import atheris

    for function in _readers():
        atheris.instrument_func(function)
    with tempfile.TemporaryDirectory(prefix="mu2net-fuzz-") as corpus:
        (Path(corpus) / "honest").write_bytes(honest()[arguments[0]])
        atheris.Setup([sys.argv[0], *arguments[1:], corpus], TARGETS[arguments[0]])
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
