"""Memory that the C library keeps for the process although nothing uses it any more."""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """Return freed memory to the operating system; return whether there was any.

    glibc keeps what is freed below something that is still in use. A server whose tasks come and go would hold more and
    more of it. Other C libraries do not have the call; then nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
