"""Data sets on the Hugging Face hub; the only module of this package that may use the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu2net.data.listing import split_role
from mu2net.data.source import HubSource, Role
from mu2net.data.tables import Table, quiet_reader
from mu2net.errors import SourceError


def newest_revision(source: HubSource) -> str:
    """Ask the hub for the newest commit of a data set.

    Args:
        source: The data set.

    Raises:
        SourceError: The hub does not know it, or cannot be reached.
    """
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().dataset_info(source.repo)
    except Exception as error:  # HTTP, offline and missing-repository errors have no common base
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(
            f"hub data set '{source}' cannot be found: {lines[0][:300]}; check the name and the network, "
            f"or give a revision that was read before: {source}@REVISION"
        ) from error
    return str(info.sha)


@dataclass(frozen=True)
class HubOrigin:
    """A data set on the hub.

    Args:
        source: The data set.
    """

    source: HubSource

    def identity(self) -> list[Any]:
        """Return the repository, the configuration and the commit; asks the hub if no revision is given."""
        return ["hub", self.source.repo, self.source.config, self.source.revision or newest_revision(self.source)]

    def tables(self, cache_dir: Path) -> dict[Role, Table]:
        """Return the tables of the splits that exist, see ``Origin.tables``."""
        import datasets

        if Path(self.source.repo).exists():
            raise SourceError(
                f"source '{self.source}': the local folder '{self.source.repo}' would be read instead; "
                "name it without 'hf:' or work from another folder"
            )
        hub_cache = cache_dir / "datasets" / "hub"
        with quiet_reader(str(self.source)):
            loaded = datasets.load_dataset(
                self.source.repo,
                self.source.config,
                revision=self.source.revision,
                cache_dir=str(hub_cache),
                download_config=datasets.DownloadConfig(cache_dir=hub_cache / "downloads"),
            )
        return self._by_role(dict(loaded))

    def _by_role(self, splits: dict[str, Any]) -> dict[Role, Table]:
        if len(splits) == 1 and split_role(next(iter(splits))) is None:
            return {"train": Table(next(iter(splits.values())), f"'{self.source}'")}
        tables: dict[Role, Table] = {}
        for name, dataset in splits.items():
            role = split_role(name)
            if role in tables:
                raise SourceError(f"hub data set '{self.source}' has two splits for {role}: {', '.join(splits)}")
            if role is not None:
                tables[role] = Table(dataset, f"the {name} split of '{self.source}'")
        if not tables:
            raise SourceError(
                f"hub data set '{self.source}' has no train, validation or test split; found: {', '.join(splits)}"
            )
        return tables
