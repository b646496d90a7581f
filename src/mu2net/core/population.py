"""The population of a cycle: whom a task's children may descend from, as a pure value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mu2net.core.compartment import Compartment, barred
from mu2net.core.component import Digest
from mu2net.core.outlook import Outlook
from mu2net.core.path import Path
from mu2net.core.score import count_sharers
from mu2net.errors import PrivacyError


@dataclass(frozen=True)
class Population:
    """All that an agent may know when it makes children for the active task.

    Args:
        task: The active task.
        root: The root path.
        own: Live paths of the active task, oldest first.
        others: Live public paths of other tasks, oldest first.
        sharers: Number of *other* tasks per digest, private ones included: size is charged for what is shared,
            whoever shares it.
        lineage: Every recorded path by id, to walk from a path to its live ancestors; no private path of another task.
        picks: How often each path was picked as a parent for this task.
        queue: Ids of the seeds in the agent's order (mu2Net rotates it).
        generation: Number of generations that were observed.
        outlook: What the rest of the budget affords; ``None`` where time does not bound the cycle.
    """

    task: str
    root: Path
    own: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    sharers: Mapping[Digest, int] = field(default_factory=dict)
    lineage: Mapping[str, Path] = field(default_factory=dict)
    picks: Mapping[str, int] = field(default_factory=dict)
    queue: tuple[str, ...] = ()
    generation: int = 0
    outlook: Outlook | None = None

    def __post_init__(self) -> None:
        for path in (*self.others, *self.lineage.values()):
            if path.is_private and path.task != self.task:
                raise PrivacyError(f"path {path.id!r} is private to task {path.task!r} and cannot seed {self.task!r}")

    @classmethod
    def start(
        cls,
        task: str,
        root: Path,
        live: Iterable[Path],
        lineage: Mapping[str, Path] | None = None,
        picks: Mapping[str, int] | None = None,
        compartments: Mapping[str, Compartment] | None = None,
    ) -> Population:
        """Return the population at the start of a cycle.

        Paths that may not shape the task (private ones of other tasks, and those that its compartment bars) are left
        out as parents, whatever the agent; they only count as sharers.

        Args:
            task: The active task.
            root: The root path.
            live: The live paths of all tasks, oldest first.
            lineage: Every recorded path by id.
            picks: How often each path was picked for this task in earlier cycles (``selection.count_picks``).
            compartments: The compartments of all tasks by name; none by default.
        """
        paths = [path for path in live if path.task is not None]
        others = [path for path in paths if path.task != task]
        return cls(
            task=task,
            root=root,
            own=tuple(path for path in paths if path.task == task),
            others=tuple(
                path
                for path in others
                if not (path.is_private or barred(task, {path.task or "", *path.influence}, compartments or {}))
            ),
            sharers=count_sharers(others),
            lineage={
                path.id: path
                for path in (lineage or {}).values()
                if path.task == task or not (path.is_private or barred(task, path.influence, compartments or {}))
            },
            picks=dict(picks or {}),
        )

    @property
    def seeds(self) -> tuple[Path, ...]:
        """The root and the public paths of other tasks, oldest first."""
        return (self.root, *self.others)

    @property
    def candidates(self) -> tuple[Path, ...]:
        """All possible parents: the seeds, then the task's own paths."""
        return (*self.seeds, *self.own)

    def candidate(self, path_id: str) -> Path:
        """Return a possible parent by id.

        Raises:
            KeyError: No candidate has this id.
        """
        for path in self.candidates:
            if path.id == path_id:
                return path
        raise KeyError(path_id)

    def sharers_with(self, path: Path) -> dict[Digest, int]:
        """Return the number of tasks per digest of a path, were it the live path of the active task."""
        return {digest: self.sharers.get(digest, 0) + 1 for digest in path.digests}

    def ancestors(self, path: Path) -> Iterator[Path]:
        """Yield a path, then those of its ancestors that are live, up to the root (which always ends the walk).

        The walk passes through paths that are history, but does not yield them: their parameters may be gone.
        """
        live = {known.id: known for known in self.candidates}
        seen: set[str] = set()
        current: Path | None = path
        while current is not None and current.id not in seen:
            seen.add(current.id)
            if current is path or current.id in live:
                yield current
            parent_id = current.parent_id or ""
            current = live.get(parent_id) or self.lineage.get(parent_id)
        if self.root.id not in seen:
            yield self.root
