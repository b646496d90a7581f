from __future__ import annotations

import datasets
import huggingface_hub
import pytest

from mu2net.data.hub import HubOrigin, newest_revision
from mu2net.data.load import load_task
from mu2net.data.source import HubSource, TaskSource
from mu2net.errors import SourceError


def fake_split(encoded, picture, labels, first=0):
    rows = {
        "img": [{"bytes": encoded(picture(first + row)), "path": None} for row in range(len(labels))],
        "fine": labels,
    }
    features = datasets.Features(img=datasets.Image(decode=False), fine=datasets.ClassLabel(names=["a", "b"]))
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def hub(monkeypatch, encoded, picture):
    calls = []
    splits = {
        "train": fake_split(encoded, picture, [0, 1] * 5),
        "dev": fake_split(encoded, picture, [0, 1], 50),
        "extra": fake_split(encoded, picture, [0], 60),
    }

    def load_dataset(path, name=None, **options):
        calls.append((path, name, options))
        return datasets.DatasetDict(splits)

    class Api:
        def dataset_info(self, repo):
            if repo == "o/none":
                raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled\nmore")
            return type("Info", (), {"sha": "c0ffee"})()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return calls, splits


def test_a_hub_set_is_read_at_its_revision_into_the_cache(hub, tmp_path):
    calls, _ = hub
    source = TaskSource(name="x", source="hf:o/n:conf").pinned()
    task = load_task(source, tmp_path)
    [(path, name, options)] = calls
    assert (path, name, options["revision"]) == ("o/n", "conf", "c0ffee")
    assert str(options["cache_dir"]).startswith(str(tmp_path))
    assert str(options["download_config"].cache_dir).startswith(str(tmp_path))
    assert task.classes == ("a", "b")
    assert (len(task.train), len(task.validation), len(task.test)) == (8, 2, 2)
    assert load_task(source, tmp_path).fingerprint == task.fingerprint
    assert len(calls) == 1  # a pinned and indexed set needs no hub


def test_the_newest_commit_is_part_of_the_identity(hub):
    assert HubOrigin(HubSource(repo="o/n")).identity() == ["hub", "o/n", None, "c0ffee"]
    assert HubOrigin(HubSource(repo="o/n", revision="v1")).identity() == ["hub", "o/n", None, "v1"]


def test_unreachable_hub(hub):
    with pytest.raises(SourceError, match=r"'hf:o/none' cannot be found: offline mode is enabled; check .*@REVISION"):
        newest_revision(HubSource(repo="o/none"))


def test_splits_without_known_names(hub, tmp_path):
    _, splits = hub
    only = splits.pop("train")
    splits.clear()
    splits["default"] = only
    assert list(HubOrigin(HubSource(repo="o/n")).tables(tmp_path)) == ["train"]
    splits["more"] = only
    with pytest.raises(SourceError, match="no train, validation or test split; found: default, more"):
        HubOrigin(HubSource(repo="o/n")).tables(tmp_path)
    splits.update(val=only, valid=only)
    with pytest.raises(SourceError, match="two splits for validation"):
        HubOrigin(HubSource(repo="o/n")).tables(tmp_path)


def test_a_local_folder_never_stands_in_for_a_hub_set(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o" / "n").mkdir(parents=True)
    with pytest.raises(SourceError, match="local folder 'o/n' would be read instead"):
        HubOrigin(HubSource(repo="o/n")).tables(tmp_path)


def test_errors_of_the_reader_are_typed(monkeypatch, tmp_path):
    def load_dataset(*args, **options):
        raise ValueError("Config name is missing.\nPlease pick one among: a, b")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(SourceError, match=r"'hf:o/n' cannot be read: Config name is missing"):
        HubOrigin(HubSource(repo="o/n")).tables(tmp_path)
