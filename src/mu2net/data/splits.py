"""Missing splits are carved out of the training split (docs/method.md: splits).

The shuffle is fixed by content: every group is ordered by the smallest key among its images, and a key is a hash
of an image's own pixels. So the result depends neither on the process nor on the order of the files, and an image
keeps its place when others are added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mu2net.data.source import Role
from mu2net.data.task import Int64Array
from mu2net.errors import DataError

SHARE = 0.05
"""What each missing split takes of the training split."""

KEEP = 2
"""Images of every class that always stay in the training split."""


def carve(
    labels: Int64Array, groups: Int64Array, keys: NDArray[np.uint64], missing: Sequence[Role]
) -> dict[Role, Int64Array]:
    """Return the rows of the training split and of every missing split, ascending.

    Each missing split in turn takes, per class, the next 5 % (rounded, at least one) of the images as they come in
    the shuffle, whole groups only. The classes' shares are met as closely as the groups allow; a class gets at least
    one image in the split where that is possible; two images of every class stay in the training split.

    Args:
        labels: Class indices of the training split, shape ``[images]``.
        groups: Group ids, shape ``[images]``; images of one group stay together.
        keys: Hashes that order the groups, shape ``[images]``.
        missing: The splits to carve, in this order.

    Raises:
        DataError: A missing split would stay empty.
    """
    members = _Groups(labels, groups, keys)
    carver = _Carver(members)
    rows: dict[Role, Int64Array] = {}
    for role in missing:
        chosen = carver.take()
        if not chosen:
            raise DataError(
                f"no {role} split can be taken from the {len(labels)} training images: {KEEP} of every class must "
                f"stay and groups must not be cut; give more images, or a {role} source"
            )
        rows[role] = members.rows(chosen)
    return {"train": members.rows([group for group, taken in enumerate(carver.taken) if not taken]), **rows}


class _Groups:
    """Groups in shuffled order, each with its images per class."""

    def __init__(self, labels: Int64Array, groups: Int64Array, keys: NDArray[np.uint64]) -> None:
        _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
        smallest = np.full(len(first), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest, inverse, keys)
        order = np.lexsort((first, smallest))
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self._group_of_row = rank[inverse]
        self.totals: list[int] = np.bincount(labels).tolist()
        num_classes = len(self.totals)
        pairs, counts = np.unique(self._group_of_row * num_classes + labels, return_counts=True)
        self.counts: list[list[tuple[int, int]]] = [[] for _ in order]
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self.counts[pair // num_classes].append((pair % num_classes, count))

    def rows(self, chosen: list[int]) -> Int64Array:
        """Return the rows of some groups, ascending."""
        return np.flatnonzero(np.isin(self._group_of_row, np.asarray(chosen, np.int64)))


class _Carver:
    """Takes one split after another from the same groups."""

    def __init__(self, members: _Groups) -> None:
        self._counts = members.counts
        self._targets = [max(1, int(total * SHARE + 0.5)) for total in members.totals]
        self._left = list(members.totals)
        self._have: list[int] = []
        self.taken = [False] * len(members.counts)

    def take(self) -> list[int]:
        """Choose the groups of the next split."""
        self._have = [0] * len(self._targets)
        before = list(self.taken)
        self._sweep(may_overshoot=False)
        self._sweep(may_overshoot=True)
        self._cover()
        return [group for group, taken in enumerate(self.taken) if taken and not before[group]]

    def _choose(self, group: int) -> None:
        self.taken[group] = True
        for label, count in self._counts[group]:
            self._have[label] += count
            self._left[label] -= count

    def _is_free(self, group: int) -> bool:
        """Whether a group can be taken and the training split keeps enough of its classes."""
        return not self.taken[group] and all(self._left[label] - count >= KEEP for label, count in self._counts[group])

    def _sweep(self, may_overshoot: bool) -> None:
        """Walk the shuffle and take every group that fits, or that brings the shares nearer to their targets."""
        short = sum(have < target for have, target in zip(self._have, self._targets, strict=True))
        for group, counts in enumerate(self._counts):
            if short == 0:
                return
            if not self._is_free(group):
                continue
            needs = [(count, self._targets[label] - self._have[label]) for label, count in counts]
            over = sum(max(0, count - max(0, need)) for count, need in needs)
            under = sum(min(count, max(0, need)) for count, need in needs)
            if over == 0 or (may_overshoot and under > over):
                short -= sum(0 < need <= count for count, need in needs)
                self._choose(group)

    def _cover(self) -> None:
        """Give every class that has no image in the split its smallest free group, the first in the shuffle."""
        smallest: dict[int, tuple[int, int]] = {}
        for group, counts in enumerate(self._counts):
            size = sum(count for _, count in counts)
            for label, _ in counts:
                best = smallest.get(label)
                if not self._have[label] and (best is None or size < best[0]) and self._is_free(group):
                    smallest[label] = (size, group)
        for label, (_, group) in sorted(smallest.items()):
            if not self._have[label] and self._is_free(group):
                self._choose(group)
