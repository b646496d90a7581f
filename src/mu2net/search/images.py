"""The images of a recorded task, which must be those that it was added with, and what is kept of their activations."""

from __future__ import annotations

from mu2net.data.load import LoadedTask, load_task
from mu2net.data.rows import Progress
from mu2net.data.source import TaskSource
from mu2net.errors import DataError
from mu2net.store.store import Store
from mu2net.train.activation_cache import ActivationCache

CACHE_NAME = "cache"
"""The folder of prepared images in the folder of a system; may be deleted at any time."""


ACTIVATIONS_NAME = "activations"
"""The folder of kept activations in the folder of prepared data; may be deleted at any time."""


def open_activations(store: Store, limit: int | None) -> ActivationCache | None:
    """Return the activations that a system keeps, brought down to their limit; ``None`` where it keeps none.

    Args:
        store: The system.
        limit: Bytes that they may take on the disk; 0 to keep none, ``None`` for the default.
    """
    cache = ActivationCache(store.directory / CACHE_NAME / ACTIVATIONS_NAME, limit)
    cache.trim()
    return None if limit == 0 else cache


def load_recorded_task(store: Store, name: str, progress: Progress | None = None) -> LoadedTask:
    """Read the images of a task of a system.

    Args:
        store: The system.
        name: The task.
        progress: Called with (images done, images in all) while images are decoded.

    Raises:
        DataError: The images are not those that the task was added with, or cannot be read.
        UnknownNameError: There is no such task.
    """
    record = store.task(name)
    source = TaskSource.model_validate(dict(record.source))
    data = load_task(source, store.directory / CACHE_NAME, progress=progress)
    if data.fingerprint != record.fingerprint:
        raise DataError(
            f"the images of task {name!r} are not those that it was added with (fingerprint "
            f"{data.fingerprint[:12]}, expected {record.fingerprint[:12]}); restore the source "
            f"{source.source!r}, or add the new images as a task of another name"
        )
    return data
