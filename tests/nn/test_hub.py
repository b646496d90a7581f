from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from mu2net.errors import RootError
from mu2net.nn.hub import commit_of, download

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Lay out the hub's cache on disk, and be offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--timm--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_files_in_the_cache_need_no_network(cache):
    path = download("timm/tiny", "config.json", None)
    assert path == cache / "config.json"
    assert commit_of(path) == COMMIT
    assert download("timm/tiny", "config.json", COMMIT) == path


def test_offline_without_the_file_says_what_to_do(cache):
    with pytest.raises(
        RootError, match=r"root 'hf:timm/tiny': 'model.safetensors' is not in the local cache .* file:PATH"
    ):
        download("timm/tiny", "model.safetensors", None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("offline"), "hub cannot be reached"),
        (errors.OfflineModeIsEnabled("offline"), "hub cannot be reached"),
        (errors.EntryNotFoundError("no"), "has no file 'model.safetensors'"),
        (errors.HFValidationError("odd name"), "cannot be downloaded: odd name"),
        (RuntimeError("connection lost"), "cannot be downloaded: connection lost"),
        (OSError(28, "No space left on device"), "cannot be downloaded: .*No space left"),
    ],
)
def test_every_failure_is_a_clear_error(monkeypatch, error, message):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", raising(error))
    with pytest.raises(RootError, match=f"root 'hf:timm/tiny' at revision 'v1': .*{message}"):
        download("timm/tiny", "model.safetensors", "v1")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.RepositoryNotFoundError, "no such public repository"),
        (errors.GatedRepoError, "access is restricted"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.RemoteEntryNotFoundError, "has no file"),
    ],
)
def test_every_refusal_of_the_hub_is_a_clear_error(monkeypatch, kind, message):
    # their constructors want an HTTP response, and differ between versions
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", raising(kind.__new__(kind)))
    with pytest.raises(RootError, match=message):
        download("timm/tiny", "model.safetensors", None)


def test_a_path_outside_the_cache_has_no_commit():
    assert commit_of(Path("/somewhere/model.safetensors")) is None
