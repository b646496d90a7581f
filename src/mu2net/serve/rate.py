"""How often a client may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CLIENTS = 10_000


class RateLimit:
    """A token bucket for every client.

    Args:
        rate: Requests per second, on average; 0 for no limit.
        burst: How many requests a client may send at once.
        clock: Returns seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Count a request; return 0.0, or after how many seconds the client may ask again.

        Args:
            client: Who asks.
        """
        if not self._rate:
            return 0.0
        now = self._clock()
        left, seen = self._buckets.pop(client, (float(self._burst), now))
        left = min(float(self._burst), left + (now - seen) * self._rate)
        is_allowed = left >= 1.0
        self._buckets[client] = (left - 1.0 if is_allowed else left, now)
        while len(self._buckets) > _MOST_CLIENTS:  # those that asked longest ago have full buckets, or nearly
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1.0 - left) / self._rate
