"""``mu2net.toml`` of a system from elsewhere."""

from __future__ import annotations

from pathlib import Path

from attacks.frame import Strike, attack
from attacks.make import sparse, system
from mu2net.errors import FormatError, RootError, StoreError, UnknownNameError
from mu2net.system import System


def _open(folder: Path, *changes: tuple[str, str], text: bytes | None = None) -> Strike:
    """Make a system, change its configuration, and open it."""
    directory = system(folder)
    file = directory / "mu2net.toml"
    found = file.read_text() if text is None else ""
    for before, after in changes:
        assert before in found
        found = found.replace(before, after)
    file.write_bytes(found.encode() if text is None else text)
    return lambda: System.open(directory)


@attack(StoreError)
def config_with_a_number_of_megabytes(folder: Path) -> Strike:
    """The seed has half a million digits."""
    return _open(folder, ("seed = 0", f"seed = {'9' * 500_000}"))


@attack(StoreError)
def config_with_a_seed_that_overflows(folder: Path) -> Strike:
    """The seed is 2^63."""
    return _open(folder, ("seed = 0", f"seed = {2**63}"))


@attack(StoreError)
def config_nested_without_end(folder: Path) -> Strike:
    """Ten thousand open brackets exhaust the stack of a recursive parser."""
    return _open(folder, text=b"a = " + b"[" * 10_000)


@attack(StoreError)
def config_with_a_backbone_nested_without_end(folder: Path) -> Strike:
    """The backbone is ten thousand open brackets."""
    return _open(folder, ("backbone = '{", "backbone = '" + "[" * 10_000 + "{"))


@attack(RootError)
def config_with_a_backbone_of_a_trillion(folder: Path) -> Strike:
    """The network is 10^12 wide."""
    return _open(folder, ('"dim": 8', f'"dim": {10**12}'))


@attack(RootError)
def config_with_a_million_blocks(folder: Path) -> Strike:
    """The network has 10^6 blocks."""
    return _open(folder, ('"depth": 1', f'"depth": {10**6}'))


@attack(RootError)
def config_with_a_patch_of_nothing(folder: Path) -> Strike:
    """The patches are zero pixels wide: a division by zero."""
    return _open(folder, ('"patch_size": 4', '"patch_size": 0'))


@attack(UnknownNameError)
def config_with_a_foreign_backbone(folder: Path) -> Strike:
    """The backbone is the name of a module."""
    return _open(folder, ('"backbone": "vit"', '"backbone": "os.system"'))


@attack(FormatError)
def config_of_the_future(folder: Path) -> Strike:
    """The format is of a version that does not exist yet."""
    return _open(folder, ("format_version = 1", f"format_version = {2**62}"))


@attack(StoreError)
def config_of_a_terabyte(folder: Path) -> Strike:
    """The file has a terabyte."""
    directory = system(folder)
    sparse(directory / "mu2net.toml", 2**40)
    return lambda: System.open(directory)


@attack(StoreError)
def config_that_is_no_text(folder: Path) -> Strike:
    """The file is not UTF-8."""
    return _open(folder, text=b"\xff\xfe\0\0")


@attack(StoreError)
def config_that_sets_what_it_must_not(folder: Path) -> Strike:
    """A key that mu2net does not know."""
    return _open(folder, ("seed = 0", "seed = 0\n__class__ = 'x'"))
