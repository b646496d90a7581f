"""Ctrl-C: the first press ends a cycle cleanly, the second ends it at once; either way it can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Literal, Self

StopRequest = Literal["no", "interval", "now"]
"""Go on; stop after the current interval and publish; stop at the next batch and publish nothing."""


class InterruptHandler:
    """While active, turns SIGINT and SIGTERM into stop requests instead of exceptions.

    Outside the main thread signals cannot be caught, and the handler changes nothing.

    Args:
        on_request: Called with ``"interval"`` at the first signal and ``"now"`` at the second.
    """

    def __init__(self, on_request: Callable[[StopRequest], None] | None = None) -> None:
        self.request: StopRequest = "no"
        self._on_request = on_request
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)  # type: ignore[arg-type]
        self._previous.clear()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.request = "interval" if self.request == "no" else "now"
        if self._on_request:
            self._on_request(self.request)
