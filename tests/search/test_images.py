from __future__ import annotations

import shutil

import pytest

from mu2net.errors import DataError, SourceError, UnknownNameError
from mu2net.search.images import load_recorded_task


def test_the_images_are_those_of_the_record(store):
    data = load_recorded_task(store, "one")
    assert data.fingerprint == store.task("one").fingerprint
    assert (len(data.train), len(data.validation), len(data.test)) == (48, 24, 24)


def test_other_images_are_refused(store, new_task, pictures, tmp_path):
    folder = pictures(tmp_path / "pictures", seed=3)
    new_task(store, "three", folder)
    (folder / "train" / "red" / "0.png").write_bytes((folder / "train" / "blue" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"'three' are not those that it was added with .*restore the source"):
        load_recorded_task(store, "three")


def test_missing_images_and_tasks_are_errors(store, new_task, pictures, tmp_path):
    folder = pictures(tmp_path / "pictures", seed=3)
    new_task(store, "three", folder)
    shutil.rmtree(folder)
    with pytest.raises(SourceError):
        load_recorded_task(store, "three")
    with pytest.raises(UnknownNameError, match="did you mean 'three'"):
        load_recorded_task(store, "thre")
