"""File systems that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mu2net.store.files import Files

STEPS = ("create", "write", "sync", "set_mode", "rename", "sync_folder", "read", "size", "is_file", "is_folder")
"""The steps up to the commit of what is recorded."""

ALL_STEPS = (*STEPS, "remove", "remove_folder", "names", "modified", "stamp")
"""All steps; ``stamp`` also comes after a commit."""


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


class FaultyFiles(Files):
    """Fails at one step: the ``at``-th of all, or every step of one name."""

    def __init__(
        self, failure: Callable[[], BaseException], *, at: int = -1, name: str = "", steps: Sequence[str] = STEPS
    ) -> None:
        self.steps = 0
        for step in steps:
            setattr(self, step, self._faulty(step, getattr(super(), step), failure, at, name))

    def _faulty(self, step: str, original: Any, failure: Any, at: int, name: str) -> Any:
        def run(*args: Any) -> Any:
            number, self.steps = self.steps, self.steps + 1
            if number == at or step == name:
                if step == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                raise failure()
            return original(*args)

        return run
