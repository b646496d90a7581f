"""Ctrl-C: the first press ends a cycle cleanly, the second ends it at once; either way it can be resumed."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from mu2net.search.events import Observer, StopRequest, StopRequested, ignore


class InterruptHandler:
    """While active, turns SIGINT and SIGTERM into stop requests instead of exceptions.

    Outside the main thread signals cannot be caught, and the handler changes nothing.

    Args:
        is_active: Whether signals are caught at all.
        observer: Told about every request.
    """

    def __init__(self, *, is_active: bool = True, observer: Observer = ignore) -> None:
        self.request: StopRequest = "no"
        self._is_active, self._observer = is_active, observer
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if self._is_active and threading.current_thread() is threading.main_thread():
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
        self._observer(StopRequested(self.request))
