"""One reader for everything: every source becomes one Hugging Face ``datasets`` table per split.

Tables are memory-mapped Arrow files under the cache folder; nothing is written to the user's home, and local
sources never touch the network. ``datasets`` is imported on first use, because that takes a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mu2net.data.bombs import check_csv, check_parquet
from mu2net.data.listing import Listing, iter_paths, list_path
from mu2net.data.source import DemoSource, HubSource, Role, parse_source
from mu2net.errors import Mu2NetError, SourceError

_BATCH = 256  # rows of a Parquet file in memory at once, however large its row groups are


@dataclass(frozen=True)
class Table:
    """The rows of one split.

    Args:
        dataset: A ``datasets.Dataset``.
        name: What messages call it.
        bases: Ascending (first row, folder) pairs: from that row on, relative paths start from that folder.
    """

    dataset: Any
    name: str
    bases: tuple[tuple[int, Path], ...] = ()

    def __len__(self) -> int:
        return len(self.dataset)

    def column(self, name: str, rows: list[int] | None = None) -> Any:
        """Return a column as a ``pyarrow.ChunkedArray``; all rows (not copied), or some."""
        view = self.dataset.select_columns([name]).with_format("arrow")
        return view[slice(None) if rows is None else rows].column(name)


class Origin(Protocol):
    """Where tables come from."""

    def identity(self) -> list[Any]:
        """Return JSON values that change whenever the content may have changed; reads no content."""
        ...

    def tables(self, cache_dir: Path) -> dict[Role, Table]:
        """Return the tables of the splits that exist.

        Args:
            cache_dir: Folder for the memory-mapped files.

        Raises:
            SourceError: The source cannot be read.
        """
        ...


def open_origin(text: str) -> Origin:
    """Return the origin that a source string names.

    Args:
        text: See ``parse_source``.

    Raises:
        SourceError: The source does not exist, or cannot be listed.
        UnknownNameError: There is no such demo task.
    """
    parsed = parse_source(text)
    if isinstance(parsed, Path):
        return FileOrigin(text, list_path(parsed))
    if isinstance(parsed, HubSource):
        from mu2net.data.hub import HubOrigin

        return HubOrigin(parsed)
    assert isinstance(parsed, DemoSource)
    from mu2net.data.demo import DemoOrigin

    return DemoOrigin(parsed.name)


@dataclass(frozen=True)
class FileOrigin:
    """Class folders or tables on this machine.

    Args:
        text: The source string, for messages.
        listing: What lies there.
    """

    text: str
    listing: Listing

    def identity(self) -> list[Any]:
        """Return the folder and a stamp of all names, sizes and times."""
        return ["files", str(self.listing.root.absolute()), self.listing.stamp]

    def tables(self, cache_dir: Path) -> dict[Role, Table]:
        """Return the tables of the splits that exist, see ``Origin.tables``."""
        with quiet_reader(self.text):
            if self.listing.kind == "images":
                return {role: self._image_table(role) for role in self.listing.files}
            return {role: self._arrow_table(role, cache_dir) for role in self.listing.files}

    def _name(self, role: Role) -> str:
        return f"the {role} split of '{self.text}'" if len(self.listing.files) > 1 else f"'{self.text}'"

    def _image_table(self, role: Role) -> Table:
        import datasets

        classes = self.listing.classes[role]
        index = {name: number for number, name in enumerate(classes)}
        features = datasets.Features(image=datasets.Value("string"), label=datasets.ClassLabel(names=list(classes)))
        columns = {
            "image": [str(path) for path in iter_paths(self.listing, role)],
            "label": [index[entry.parts[self.listing.depth]] for entry in self.listing.files[role]],
        }
        return Table(datasets.Dataset.from_dict(columns, features=features), self._name(role))

    def _arrow_table(self, role: Role, cache_dir: Path) -> Table:
        import datasets

        parts, bases, first = [], [], 0
        files = [path for path in iter_paths(self.listing, role) if self._has_rows(path)]
        if not files:  # the reader cannot make a table without rows
            raise SourceError(f"{self._name(role)} has no images; give some, or another source")
        for folder, group in itertools.groupby(files, key=lambda path: path.parent):
            part = self._read_files(list(group), cache_dir / "datasets" / self.listing.stamp[:16])
            bases.append((first, folder))
            parts.append(part)
            first += len(part)
        dataset = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
        return Table(dataset, self._name(role), tuple(bases))

    def _has_rows(self, path: Path) -> bool:
        if self.listing.kind == "parquet":
            import pyarrow.parquet

            check_parquet(path, self.text)
            return bool(pyarrow.parquet.read_metadata(path).num_rows)
        check_csv(path, self.text)
        with path.open("rb") as file:
            return len(list(itertools.islice((line for line in file if line.strip()), 2))) != 1

    def _read_files(self, files: list[Path], cache_dir: Path) -> Any:
        """Read tables of one folder; the explicit file list keeps ``[`` and ``*`` in names from being patterns."""
        import datasets
        from datasets.data_files import DataFilesDict, DataFilesList

        origins: list[Any] = [(str(path.stat().st_mtime_ns),) for path in files]
        listed = DataFilesDict({"train": DataFilesList([str(path) for path in files], origins)})
        if self.listing.kind == "parquet":
            return datasets.Dataset.from_parquet(listed, cache_dir=str(cache_dir), batch_size=_BATCH)["train"]
        options = {"keep_default_na": False, "na_values": [""]}  # a class may be called NA
        return datasets.Dataset.from_csv(listed, cache_dir=str(cache_dir), **options)["train"]


@contextmanager
def quiet_reader(text: str) -> Iterator[None]:
    """Silence the reader's own bars and log lines, and turn its errors into a ``SourceError``.

    Args:
        text: The source string, for messages.
    """
    import datasets

    had_bars, verbosity = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    except (Mu2NetError, MemoryError):
        raise
    except Exception as error:  # the reader passes on whatever Arrow, pandas or the hub raise
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise SourceError(
            f"source '{text}' cannot be read: {lines[0][:300]}; check that it is complete and undamaged"
        ) from error
    finally:
        datasets.logging.set_verbosity(verbosity)
        if had_bars:
            datasets.enable_progress_bars()
