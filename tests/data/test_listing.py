from __future__ import annotations

import os

import pytest

from mu2net.data.listing import list_path, split_role
from mu2net.errors import SourceError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def files(listing, role):
    return ["/".join(entry.parts) for entry in listing.files[role]]


def test_class_folders_are_sorted_and_nested_images_belong_to_the_upper_folder(tmp_path):
    touch(tmp_path, "b/2.png", "b/10.jpg", "a/deep/er/1.png", "a/.hidden.png", "README.md", "a/notes.txt", "LICENSE")
    (tmp_path / "empty").mkdir()
    listing = list_path(tmp_path)
    assert listing.kind == "images"
    assert listing.classes == {"train": ("a", "b", "empty")}
    assert files(listing, "train") == ["a/deep/er/1.png", "b/10.jpg", "b/2.png"]


def test_split_folders(tmp_path):
    touch(tmp_path, "Train/a/1.png", "Train/b/1.png", "valid/a/2.png", "test/b/3.png", "docs/readme.md")
    listing = list_path(tmp_path)
    assert {role: files(listing, role) for role in listing.files} == {
        "train": ["Train/a/1.png", "Train/b/1.png"],
        "validation": ["valid/a/2.png"],
        "test": ["test/b/3.png"],
    }
    assert listing.classes["train"] == ("a", "b")
    assert listing.depth == 1


def test_a_file_in_a_class_folder_without_a_known_suffix_counts_as_an_image(tmp_path):
    touch(tmp_path, "a/1.png", "a/photo.heic", "a/0af3", "b/1.png")
    assert files(list_path(tmp_path), "train") == ["a/0af3", "a/1.png", "a/photo.heic", "b/1.png"]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("test.parquet", "test"),
        ("val_2.parquet", "validation"),
        ("my.validation.parquet", "validation"),
        ("data-dev-1.parquet", "validation"),
        ("TRAINING.parquet", "train"),
        ("test/0000.parquet", "test"),
        ("train2.parquet", "train"),
    ],
)
def test_splits_by_table_name(tmp_path, name, role):
    touch(tmp_path, name, "x/train.parquet")
    assert name in files(list_path(tmp_path), role)


def test_tables_without_a_split_in_their_names_are_training_data(tmp_path):
    touch(tmp_path, "b.csv", "a.csv", "contrast.csv", "latest.csv")
    assert files(list_path(tmp_path), "train") == ["a.csv", "b.csv", "contrast.csv", "latest.csv"]


def test_csv_with_split_names_beside_images(tmp_path):
    touch(tmp_path, "train.csv", "test.csv", "images/1.png")
    listing = list_path(tmp_path)
    assert listing.kind == "csv"
    assert files(listing, "test") == ["test.csv"]


def test_a_single_table_is_training_data_whatever_its_name(tmp_path):
    touch(tmp_path, "test.parquet", "train.parquet")
    assert files(list_path(tmp_path / "test.parquet"), "train") == ["test.parquet"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "is empty: it holds no images and no tables"),
        (["a.txt"], "is empty"),
        (["a.png"], r"image 'a\.png' .* lies in no class folder"),
        (["x/a.png", "b.png"], r"image 'b\.png' .* lies in no class folder"),
        (["train/a.png"], r"image 'train/a\.png' .* lies in no class folder"),
        (["labels.csv", "a/1.png"], "holds both tables .* and images"),
        (["train.parquet", "a/1.png"], "holds both tables .* and images"),
        (["a.csv", "a.parquet"], "mixes csv and parquet"),
        (["train.csv", "other.csv"], r"cannot tell which split 'other\.csv' belongs to"),
        (["train-test.csv"], "names several splits"),
        (["test/a/1.png", "cat/1.png"], "'test' but no 'train'"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "two folders for one split"),
        (["train/a/1.png", "extra/1.png"], r"images elsewhere: 'extra/1\.png'"),
    ],
)
def test_unusable_folders(tmp_path, names, message):
    touch(tmp_path, *names)
    with pytest.raises(SourceError, match=message) as error:
        list_path(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_missing_path_names_the_closest(tmp_path):
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(SourceError, match=r"'.*cifr10' does not exist; did you mean '.*cifar10'"):
        list_path(tmp_path / "cifr10")
    with pytest.raises(SourceError, match="does not exist; expected a folder"):
        list_path(tmp_path / "no" / "where")


@pytest.mark.parametrize("name", ["a.zip", "a.json", "cat.png", "plain"])
def test_unsupported_file_type(tmp_path, name):
    touch(tmp_path, name)
    with pytest.raises(SourceError, match="unsupported file type"):
        list_path(tmp_path / name)


def test_unreadable_folder(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"cannot be read \(Permission denied\).*check its permissions"):
        list_path(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "far/1.png", "data/b/1.png")
    (tmp_path / "data" / "a").symlink_to(tmp_path / "far")
    assert files(list_path(tmp_path / "data"), "train") == ["a/1.png", "b/1.png"]
    (tmp_path / "far" / "up").symlink_to(tmp_path / "data")
    with pytest.raises(SourceError, match="contains itself through a link"):
        list_path(tmp_path / "data")


@pytest.mark.parametrize("target", ["nowhere.png", "2.png"])
def test_an_image_that_is_a_broken_link_is_listed(tmp_path, target):
    touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "2.png").symlink_to(target)
    found = list_path(tmp_path)
    assert files(found, "train") == ["a/1.png", "a/2.png", "b/1.png"]
    touch(tmp_path, "a/nowhere.png")
    assert list_path(tmp_path).stamp != found.stamp


@pytest.mark.parametrize("name", ["c", "labels.csv", "a/c"])
def test_a_broken_link_that_may_be_a_folder_or_a_table_is_named(tmp_path, name):
    touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(SourceError, match=rf"link '.*{name}' leads nowhere \(to 'nowhere'\); repair or remove it"):
        list_path(tmp_path)


def test_the_stamp_changes_with_names_sizes_times_and_empty_folders(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png")
    stamps = [list_path(tmp_path).stamp]
    assert list_path(tmp_path).stamp == stamps[0]
    (tmp_path / "a" / "1.png").write_bytes(b"xy")
    stamps.append(list_path(tmp_path).stamp)
    os.utime(tmp_path / "a" / "1.png", ns=(1, 1))
    stamps.append(list_path(tmp_path).stamp)
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "2.png")
    stamps.append(list_path(tmp_path).stamp)
    (tmp_path / "c").mkdir()
    stamps.append(list_path(tmp_path).stamp)
    assert len(set(stamps)) == 5


def test_split_role():
    assert split_role("valid") == "validation"
    assert split_role("test_small") is None
