"""How attacks are declared, and run in a process of their own."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datasets  # noqa: F401 - a second, which no attack shall be charged for

from mu2net.errors import Mu2NetError

Strike = Callable[[], object]
"""What the victim does."""

Prepare = Callable[[Path], Strike]
"""Makes the files of an attack in an empty folder."""

MAX_SECONDS = 1.0
"""How long the victim may take to refuse, in seconds."""

MAX_MEMORY = 2**28
"""How much more memory the victim may take, in bytes."""

_HARD_MEMORY = 2**33


@dataclass(frozen=True)
class Attack:
    """An attack.

    Args:
        name: Its name, unique.
        what: What it tries, one line.
        expected: The error that the victim must raise, exactly this class.
        prepare: Makes its files.
    """

    name: str
    what: str
    expected: type[Mu2NetError]
    prepare: Prepare


@dataclass(frozen=True)
class Outcome:
    """What became of an attack.

    Args:
        error: Class and message of what the victim raised; empty where it raised nothing.
        is_expected: Whether it is exactly the expected class.
        seconds: How long the victim took.
        memory: How much more memory it took at its peak, in bytes.
    """

    error: str
    is_expected: bool
    seconds: float
    memory: int

    @property
    def is_repelled(self) -> bool:
        """Whether the victim refused it, in time and within its memory."""
        return self.is_expected and self.seconds <= MAX_SECONDS and self.memory <= MAX_MEMORY


ATTACKS: dict[str, Attack] = {}
"""All attacks by name."""


def attack(expected: type[Mu2NetError]) -> Callable[[Prepare], Prepare]:
    """Declare a function as an attack; its name and the first line of its docstring are the attack's.

    Args:
        expected: The error that the victim must raise.
    """

    def declare(prepare: Prepare) -> Prepare:
        what = (prepare.__doc__ or "").splitlines()[0]
        name = prepare.__name__.replace("_", "-")
        assert name not in ATTACKS, name
        ATTACKS[name] = Attack(name, what, expected, prepare)
        return prepare

    return declare


def run(attack: Attack) -> Outcome:
    """Run an attack in a forked process, in an empty folder that is removed afterwards.

    Args:
        attack: The attack.
    """
    with tempfile.TemporaryDirectory(prefix="mu2net-attack-") as folder:
        output, input_ = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(output)
            try:
                os.write(input_, json.dumps(_strike(attack, Path(folder))).encode())
            finally:
                os._exit(0)
        os.close(input_)
        with os.fdopen(output, "rb") as stream:
            text = stream.read()
        os.waitpid(process, 0)
    if not text:
        return Outcome("the process died", is_expected=False, seconds=0.0, memory=0)
    error, is_expected, seconds, memory = json.loads(text)
    return Outcome(error, is_expected, seconds, memory)


def _strike(attack: Attack, folder: Path) -> tuple[str, bool, float, int]:
    strike = attack.prepare(folder)
    _limit_memory()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    error, is_expected = "", False
    try:
        strike()
    except BaseException as raised:
        error, is_expected = f"{type(raised).__name__}: {raised}"[:3000], type(raised) is attack.expected
    seconds = time.perf_counter() - start
    return error, is_expected, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def _limit_memory() -> None:
    """Let no attack take the machine with it: where it would need more, it fails with a ``MemoryError``."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        size = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _HARD_MEMORY, size + _HARD_MEMORY))
