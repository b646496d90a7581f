"""Values that are computed from parameters, kept while those are frozen."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch

from mu2net.nn.precision import autocast

T = TypeVar("T")


class Derived(Generic[T]):
    """A value computed from parameters: at every call while one of them trains, else once until one changes.

    It is computed without autocast, so that it is the same in every arithmetic. What is kept is computed outside of
    inference mode, so that autograd may use it later. Threads may ask at once, as long as nothing trains.
    """

    def __init__(self) -> None:
        self._kept: tuple[Hashable, T] | None = None

    def get(self, sources: Sequence[torch.Tensor], compute: Callable[[], T], key: Hashable = None) -> T:
        """Return the value.

        Args:
            sources: All tensors that it is computed from.
            compute: Computes it.
            key: What else it depends on; only the value of the last key is kept.
        """
        if (
            torch.compiler.is_compiling()
        ):  # a traced program has no memory between calls; whoever runs it folds constants
            return compute()
        if any(source.requires_grad for source in sources):
            with autocast(sources[0].device, "float32"):
                return compute()
        state = (key, *(_state(source) for source in sources))
        kept = self._kept  # another thread may keep the value of another key at any moment
        if kept is None or kept[0] != state:
            with torch.inference_mode(mode=False), torch.no_grad(), autocast(sources[0].device, "float32"):
                kept = self._kept = (state, compute())
        return kept[1]


def _state(tensor: torch.Tensor) -> Hashable:
    """Return what differs after a tensor was replaced or written to; of inference tensors writes are not counted."""
    return tensor.data_ptr(), tensor.dtype, None if tensor.is_inference() else tensor._version
