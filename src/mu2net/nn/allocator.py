"""Lets glibc keep the memory of a batch for the next one, in this process and in those that it starts.

By its own rule it returns the activations of many batches to the system, which then clears their pages anew for the
next one (docs/performance.md and docs/serving.md have what that takes).
"""

from __future__ import annotations

import ctypes
import os

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``malloc.h``."""

_KEPT = {
    "MALLOC_MMAP_THRESHOLD_": (_MMAP_THRESHOLD, 32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": (_TRIM_THRESHOLD, 128 * 2**20),
}
"""By environment variable: which parameter it sets, and the value, in bytes."""

ENVIRONMENT = {**{name: str(size) for name, (_, size) in _KEPT.items()}, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What a process is started with that keeps what it frees, at most about 128 MiB, in huge pages.

Other C libraries do not read these variables; a user's own values should win.
"""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, at most about 128 MiB per arena, and return whether it does.

    Returns:
        ``False`` where the C library is not glibc, or where the environment says what its allocator is to do
        (``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES``): that stays as it is.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name in os.environ for name in _KEPT):
        return False
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None) if _is_glibc() else None
    return set_parameter is not None and all(set_parameter(which, size) == 1 for which, size in _KEPT.values())


def _is_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, OSError, ValueError):
        return False
