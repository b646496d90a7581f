"""Files from the Hugging Face hub, kept in its own cache."""

from __future__ import annotations

from pathlib import Path

from mu2net.errors import RootError


def download(repository: str, filename: str, revision: str | None) -> Path:
    """Return the local path of a file of a repository, downloading it where it is not in the cache.

    Args:
        repository: ``OWNER/NAME``.
        filename: Name of the file.
        revision: Branch, tag or commit; ``None`` for the default branch.

    Raises:
        RootError: The repository or file does not exist, or cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub import errors

    owner = f"root 'hf:{repository}'" + (f" at revision {revision!r}" if revision else "")
    try:
        return Path(huggingface_hub.hf_hub_download(repository, filename, revision=revision))
    except errors.GatedRepoError as error:
        raise RootError(f"{owner}: access is restricted; accept its terms on the hub and log in") from error
    except errors.RepositoryNotFoundError as error:
        raise RootError(f"{owner}: the hub has no such public repository; check OWNER/NAME") from error
    except errors.RevisionNotFoundError as error:
        raise RootError(f"{owner}: the repository has no such revision") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise RootError(
            f"{owner}: {filename!r} is not in the local cache and the hub cannot be reached; "
            "connect to the network, or download the file and use file:PATH.safetensors"
        ) from error
    except errors.EntryNotFoundError as error:
        raise RootError(f"{owner}: the repository has no file {filename!r}, which is needed") from error
    except Exception as error:  # the HTTP library's own errors differ between versions of huggingface-hub
        raise RootError(f"{owner}: {filename!r} cannot be downloaded: {error}") from error


def commit_of(path: Path) -> str | None:
    """Return the commit that a file of the hub's cache belongs to, ``None`` where the path does not say.

    Args:
        path: What ``download`` returned: ``…/snapshots/COMMIT/FILENAME``.
    """
    parents = path.parts
    return parents[parents.index("snapshots") + 1] if "snapshots" in parents[:-2] else None
