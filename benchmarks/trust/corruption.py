"""Injects damage into every kind of file of a system, one at a time, and asks ``verify`` to find and name it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.trust.grown import add_task, make_store, publish
from mu2net.errors import Mu2NetError
from mu2net.store.config import CONFIG_NAME
from mu2net.store.seal import SEAL_NAME
from mu2net.store.store import REGISTRY_NAME, Store
from mu2net.store.verify import check_files

KINDS = ("flip", "truncate", "delete", "swap", "append")


@dataclass(frozen=True)
class Injection:
    """A damage.

    Args:
        kind: How the file is damaged.
        file: Which file, below the system's folder.
        detail: Where in the file, or with which other file.
    """

    kind: str
    file: str
    detail: str


@dataclass(frozen=True)
class Outcome:
    """What ``verify`` made of all injections.

    Args:
        count: Injections.
        found: How many were found, and the file named.
        by_kind: Injections by kind and kind of file.
        missed: Those that were not found.
        crashes: Those at which something else than a typed error was raised.
    """

    count: int
    found: int
    by_kind: Counter[tuple[str, str]]
    missed: tuple[Injection, ...]
    crashes: tuple[tuple[Injection, str], ...]

    @property
    def share(self) -> float:
        """Share of the injections that were found."""
        return self.found / self.count


def inject(folder: Path, count: int, seed: int = 0, progress: Callable[[int], None] | None = None) -> Outcome:
    """Damage a system ``count`` times, each time anew, and return what was found.

    Args:
        folder: Where the system is made; it must not exist.
        count: Injections.
        seed: Of all draws.
        progress: Told how many are done.
    """
    store = make_store(folder)
    parent = store.root()
    for number in range(4):
        add_task(store, f"task{number}")
        parent = publish(store, f"task{number}", parent if number % 2 else store.root(), number)
    publish(store, "task0", parent, 9)
    if check_files(store).findings:
        raise RuntimeError("the system is damaged before anything was injected")
    draw = random.Random(seed)  # noqa: S311 - damages, not secrets
    pristine = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    missed: list[Injection] = []
    crashes: list[tuple[Injection, str]] = []
    kinds: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        injection, changed = _draw(draw, folder, pristine)
        kinds[injection.kind, _kind_of(injection.file)] += 1
        for file in changed:
            _put(file, changed[file])
        try:
            if not _is_named(folder, injection):
                missed.append(injection)
        except Exception as error:
            crashes.append((injection, repr(error)))
        for file, data in pristine.items():
            if not file.exists() or file in changed or file.name in (REGISTRY_NAME, SEAL_NAME):
                _put(file, data)
        if progress is not None:
            progress(number + 1)
    return Outcome(count, count - len(missed) - len(crashes), kinds, tuple(missed), tuple(crashes))


def _draw(draw: random.Random, folder: Path, pristine: dict[Path, bytes]) -> tuple[Injection, dict[Path, bytes | None]]:
    """Return a damage, and the bytes of the files that it changes; ``None`` for a file that is gone.

    A quarter of them hits the registry, its seal or the configuration, the rest the component folder.
    """
    special = [folder / name for name in (REGISTRY_NAME, SEAL_NAME, CONFIG_NAME)]
    others = [file for file in pristine if file not in special]
    file = draw.choice(special) if draw.random() < 0.25 else draw.choice(others)
    data, kind = pristine[file], draw.choice(KINDS)
    name = str(file.relative_to(folder))
    if kind == "swap" and file not in special:
        other = draw.choice([candidate for candidate in others if pristine[candidate] != data])
        return Injection(kind, name, other.name), {file: pristine[other], other: data}
    if kind == "delete":
        return Injection(kind, name, ""), {file: None}
    if kind == "truncate":
        length = draw.randrange(len(data))
        return Injection(kind, name, f"to {length} bytes"), {file: data[:length]}
    if kind == "append":
        return Injection(kind, name, "a byte"), {file: data + bytes([draw.randrange(256)])}
    position, bit = draw.randrange(len(data)), draw.randrange(8)
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return Injection("flip", name, f"bit {bit} of byte {position}"), {file: bytes(changed)}


def _is_named(folder: Path, injection: Injection) -> bool:
    """Return whether the damage is found, and the file, or what it holds, named."""
    stem = Path(injection.file).name.partition(".")[0]
    names = {REGISTRY_NAME: ("registry",), SEAL_NAME: ("registry",), CONFIG_NAME: (CONFIG_NAME,)}
    expected = names.get(injection.file, (stem,))
    try:
        said = " ".join(finding.message for finding in check_files(Store.open(folder)).findings)
    except Mu2NetError as error:
        said = str(error)
    return any(name in said for name in expected) or (injection.file == CONFIG_NAME and "is not a system" in said)


def _kind_of(file: str) -> str:
    return Path(file).name if Path(file).name in (REGISTRY_NAME, SEAL_NAME, CONFIG_NAME) else "component"


def _put(file: Path, data: bytes | None) -> None:
    if file.exists():
        file.chmod(0o644)
        file.unlink()
    if data is not None:
        file.write_bytes(data)
