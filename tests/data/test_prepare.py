"""Every kind of bad input ends in a typed error that names the object and the way out."""

from __future__ import annotations

import pyarrow as pa
import pytest

from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
from mu2net.errors import DataError, ImageError, Mu2NetError, SourceError, UnknownNameError


@pytest.fixture
def load(tmp_path):
    def read(source, **options):
        try:
            return load_task(TaskSource(name="pets", source=str(source), **options), tmp_path / "cache")
        except Mu2NetError as error:
            fits_one_screen = len(str(error)) < 700 + 3 * len(str(tmp_path)) and "\n" not in str(error)
            if not fits_one_screen:
                pytest.fail(f"not on one screen: {error}")
            raise

    return read


def test_one_class(load, tmp_path, class_folders):
    class_folders(tmp_path / "in", {"cat": 5})
    with pytest.raises(DataError, match=r"task 'pets' has 1 class; classification needs at least 2 \(found: 'cat'\)"):
        load(tmp_path / "in")


def test_an_empty_class_folder(load, tmp_path, class_folders):
    class_folders(tmp_path / "in", {"cat": 5, "dog": 5, "emu": 0})
    with pytest.raises(DataError, match=r"class 'emu' has 0 training images; every class needs at least 2"):
        load(tmp_path / "in")


def test_a_declared_class_without_rows(load, tmp_path, table_file):
    table_file(tmp_path / "x.parquet", [0, 0, 0, 1, 1, 1], names=["cat", "dog", "emu", "fox"])
    with pytest.raises(DataError, match=r"class 'emu' has 0 training images \(and 1 more classes\)"):
        load(tmp_path / "x.parquet")


def test_one_image_of_a_class(load, tmp_path, class_folders):
    class_folders(tmp_path / "in", {"cat": 5, "dog": 1})
    with pytest.raises(DataError, match="class 'dog' has 1 training images"):
        load(tmp_path / "in")


def test_a_bad_image_is_named_or_counted(load, tmp_path, class_folders):
    class_folders(tmp_path / "in", {"cat": 9, "dog": 9})
    (tmp_path / "in" / "cat" / "bad.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"image '.*cat/bad\.png' .*does not decode"):
        load(tmp_path / "in")
    task = load(tmp_path / "in", skip_bad_images=True)
    assert len(task.skipped) == 1
    assert "bad.png" in task.skipped[0]
    assert len(task.train) + len(task.validation) + len(task.test) == 18
    assert load(tmp_path / "in", skip_bad_images=True).skipped == task.skipped


@pytest.mark.parametrize("target", ["nowhere.png", "bad.png"])
def test_a_broken_link_is_a_bad_image(load, tmp_path, class_folders, target):
    class_folders(tmp_path / "in", {"cat": 9, "dog": 9})
    (tmp_path / "in" / "cat" / "bad.png").symlink_to(target)
    with pytest.raises(ImageError, match=r"image '.*cat/bad\.png' .*does not"):
        load(tmp_path / "in")
    task = load(tmp_path / "in", skip_bad_images=True)
    assert len(task.skipped) == 1
    assert "bad.png" in task.skipped[0]
    assert len(task.train) + len(task.validation) + len(task.test) == 18


def test_too_many_bad_images(load, tmp_path, class_folders):
    class_folders(tmp_path / "in", {"cat": 4, "dog": 4})
    for number in range(3):
        (tmp_path / "in" / "dog" / f"00{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match="class 'dog' has 1 training images after 3 bad images were skipped"):
        load(tmp_path / "in", skip_bad_images=True)


def test_a_row_of_a_table_is_named(load, tmp_path, table_file):
    images = [{"bytes": b"junk", "path": None}] * 6
    path = table_file(tmp_path / "x.parquet", ["a", "b"] * 3, scan=pa.array(images))
    with pytest.raises(ImageError, match=r"image in row 0 of '.*x\.parquet' does not decode"):
        load(path, image_column="scan")


def test_string_labels_are_classes_in_sorted_order(load, tmp_path, table_file):
    task = load(table_file(tmp_path / "x.parquet", ["dog", "cat"] * 5))
    assert task.classes == ("cat", "dog")
    assert task.train.labels.tolist() == [1, 0] * 3 or sorted(task.train.labels.tolist()) == [0] * 3 + [1] * 3


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, None, 0], None, "label is missing in row 2 of column 'label'"),
        ([0, 1, 2, 0], ["a", "b"], "label 2 is out of range in row 2.*expected 0 to 1"),
        ([0, 1, -1, 0], ["a", "b"], "label -1 is out of range in row 2"),
        ([0.0, 0.5, 1.0, 0.0], None, "label 0.5 is not a whole number in row 1"),
        ([0.0, float("nan"), 1.0, 0.0], None, "label is NaN in row 1"),
    ],
)
def test_bad_labels(load, tmp_path, table_file, labels, names, message):
    with pytest.raises(DataError, match=message):
        load(table_file(tmp_path / "x.parquet", labels, names=names))


def test_unknown_columns(load, tmp_path, table_file):
    path = table_file(tmp_path / "x.parquet", ["a", "b"] * 4)
    with pytest.raises(UnknownNameError, match="did you mean 'label'"):
        load(path, label_column="labels")
    with pytest.raises(UnknownNameError, match="unknown column"):
        load(path, group_column="writer")


@pytest.mark.parametrize("role", ["val", "test"])
def test_a_class_that_training_does_not_know(load, tmp_path, class_folders, role):
    class_folders(tmp_path / "in" / "train", {"cat": 5, "dog": 5})
    class_folders(tmp_path / "in" / role, {"cat": 1, "emu": 1})
    with pytest.raises(DataError, match="has the class 'emu', which the training split does not know"):
        load(tmp_path / "in")


def test_a_class_of_the_test_split_without_images_is_no_matter(load, tmp_path, class_folders):
    class_folders(tmp_path / "in" / "train", {"cat": 5, "dog": 5})
    class_folders(tmp_path / "in" / "test", {"dog": 2, "emu": 0}, 50)
    assert load(tmp_path / "in").test.labels.tolist() == [1, 1]


@pytest.mark.parametrize("role", ["train", "val", "test"])
def test_empty_split_folders(load, tmp_path, class_folders, role):
    for name in {"train", role}:
        (tmp_path / "in" / name).mkdir(parents=True)
    for name in {"train", "other"} - {role, "other"} or {"test"}:
        class_folders(tmp_path / "in" / name, {"cat": 5, "dog": 5})
    with pytest.raises(DataError, match="has no images; give some, or another source"):
        load(tmp_path / "in")


def test_an_empty_table(load, tmp_path, table_file):
    table_file(tmp_path / "in" / "train-0.parquet", pa.array([], pa.string()))
    table_file(tmp_path / "in" / "train-1.parquet", ["a", "b"] * 4)
    assert len(load(tmp_path / "in").train) == 4
    table_file(tmp_path / "in" / "test.parquet", pa.array([], pa.string()))
    with pytest.raises(SourceError, match=r"the test split of .* has no images"):
        load(tmp_path / "in")
    (tmp_path / "t.csv").write_text("image,label\n\n")
    with pytest.raises(SourceError, match=r"'.*t\.csv' has no images"):
        load(tmp_path / "t.csv")


def test_a_split_whose_images_are_all_bad(load, tmp_path, class_folders):
    class_folders(tmp_path / "in" / "train", {"cat": 5, "dog": 5})
    class_folders(tmp_path / "in" / "test", {"cat": 1})
    (tmp_path / "in" / "test" / "cat" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match="the test split has no images after 1 bad images were skipped"):
        load(tmp_path / "in", skip_bad_images=True)


def test_a_csv_that_points_to_missing_files(load, tmp_path, class_folders):
    class_folders(tmp_path / "images", {"a": 4, "b": 4})
    lines = [f"images/{name}/00{number}.png,{name}" for name in "ab" for number in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label", *lines, "images/a/999.png,a"]))
    with pytest.raises(ImageError, match=r"image '.*images/a/999\.png' \(in row 8 of '.*t\.csv'\) does not exist"):
        load(tmp_path / "t.csv")
    assert len(load(tmp_path / "t.csv", skip_bad_images=True).skipped) == 1


def test_only_validation_and_test(load, tmp_path, table_file):
    table_file(tmp_path / "in" / "test.parquet", ["a", "b"])
    with pytest.raises(SourceError, match="has no training split; found only: test"):
        load(tmp_path / "in")


def test_groups_that_straddle_given_splits(load, tmp_path, table_file):
    table_file(tmp_path / "in" / "train.parquet", ["a", "b"] * 4, who=["x", "y"] * 4)
    table_file(tmp_path / "in" / "test.parquet", ["a", "b"], first_seed=50, who=["z", "y"])
    with pytest.raises(DataError, match="group 'y' of column 'who' is in the train and the test split"):
        load(tmp_path / "in", group_column="who")
    assert len(load(tmp_path / "in").test) == 2


def test_an_extra_source_with_several_splits(load, tmp_path, table_file):
    path = table_file(tmp_path / "x.parquet", ["a", "b"] * 4)
    table_file(tmp_path / "in" / "train.parquet", ["a", "b"])
    table_file(tmp_path / "in" / "test.parquet", ["a", "b"])
    with pytest.raises(SourceError, match="the validation source has several splits and none named validation"):
        load(path, validation=str(tmp_path / "in"))


def test_too_few_images_to_carve(load, tmp_path, class_folders):
    with pytest.raises(DataError, match="no test split can be taken from the 4 training images"):
        load(class_folders(tmp_path / "in", {"a": 2, "b": 2}))
