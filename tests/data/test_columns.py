from __future__ import annotations

import datasets
import pytest

from mu2net.data.columns import Columns, find_columns, read_groups, read_labels
from mu2net.data.source import TaskSource
from mu2net.data.tables import Table
from mu2net.errors import DataError, SourceError, UnknownNameError

IMAGE = datasets.Image(decode=False)
TEXT = datasets.Value("string")
NUMBER = datasets.Value("int64")
CLASS = datasets.ClassLabel(names=["a", "b"])


def table(**columns) -> Table:
    features = datasets.Features(columns)
    return Table(datasets.Dataset.from_dict({name: [] for name in columns}, features=features), "'data'")


def labelled(values, feature) -> Table:
    features = datasets.Features(label=feature)
    return Table(datasets.Dataset.from_dict({"label": values}, features=features), "'data'")


def find(found, **named):
    return find_columns(found, TaskSource(name="x", source="x", **named))


@pytest.mark.parametrize(
    ("columns", "image", "label"),
    [
        ({"picture_of_it": IMAGE, "species": CLASS}, "picture_of_it", "species"),
        ({"image": IMAGE, "mask": IMAGE, "label": NUMBER, "id": NUMBER}, "image", "label"),
        ({"file_name": TEXT, "class": TEXT}, "file_name", "class"),
        ({"scan": {"bytes": datasets.Value("binary"), "path": TEXT}, "target": NUMBER}, "scan", "target"),
        ({"path": TEXT, "x": IMAGE, "label": NUMBER, "kind": CLASS}, "x", "kind"),
        ({"image": datasets.Value("binary"), "labels": datasets.Value("float64")}, "image", "labels"),
    ],
)
def test_columns_are_found(columns, image, label):
    assert find(table(**columns)) == Columns(image, label, None)


def test_named_columns_win():
    found = find(
        table(image=IMAGE, mask=IMAGE, label=CLASS, kind=TEXT, who=TEXT),
        image_column="mask",
        label_column="kind",
        group_column="who",
    )
    assert found == Columns("mask", "kind", "who")


@pytest.mark.parametrize("named", ["image_column", "label_column", "group_column"])
def test_unknown_column_names_the_closest(named):
    with pytest.raises(UnknownNameError, match=r"unknown column of 'data' 'lable'; did you mean 'label'"):
        find(table(image=IMAGE, label=CLASS), **{named: "lable"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"left": IMAGE, "right": IMAGE, "label": CLASS}, "several columns that may be the image: left, right"),
        ({"image": IMAGE, "coarse": CLASS, "fine": CLASS}, "several columns that may be the label: coarse, fine"),
        ({"a": TEXT, "label": CLASS}, r"no column that can be taken for the image; .*\(its columns: a, label\)"),
        ({"image": IMAGE, "b": NUMBER}, "no column that can be taken for the label"),
    ],
)
def test_columns_that_cannot_be_told_apart(columns, message):
    with pytest.raises(SourceError, match=message):
        find(table(**columns))


def test_an_image_column_of_numbers_is_refused():
    with pytest.raises(SourceError, match="column 'label' is of type int64; expected encoded images"):
        find(table(image=IMAGE, label=NUMBER), image_column="label")


def names_and_indices(values, feature):
    found = read_labels(labelled(values, feature), "label")
    return found.names, found.indices.tolist()


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_strings_are_sorted(kind):
    found = names_and_indices(["pear", "Apple", "fig", "pear"], datasets.Value(kind))
    assert found == (("Apple", "fig", "pear"), [2, 0, 1, 2])


def test_numbers_are_sorted_by_value():
    assert names_and_indices([10, 2, 10, 0], NUMBER) == (("0", "2", "10"), [2, 1, 2, 0])
    assert names_and_indices([1.0, 0.0], datasets.Value("float32")) == (("0", "1"), [1, 0])
    assert names_and_indices([True, False], datasets.Value("bool")) == (("False", "True"), [1, 0])


def test_declared_classes_keep_their_order():
    found = names_and_indices([1, 0, 1], datasets.ClassLabel(names=["z", "a"]))
    assert found == (("z", "a"), [1, 0, 1])


@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        (["a", None, None], TEXT, "label is missing .and 1 more rows. in row 1 of column 'label'"),
        (["a", " "], TEXT, "label ' ' is empty in row 1"),
        ([0, 1, None], NUMBER, "label is missing in row 2"),
        ([0, -1], NUMBER, "label -1 is out of range in row 1"),
        ([0, -1], CLASS, "label -1 is out of range in row 1 .*expected 0 to 1"),
        ([0.0, 1.5], datasets.Value("float64"), "label 1.5 is not a whole number in row 1"),
        ([0.0, float("nan")], datasets.Value("float64"), "label is NaN in row 1"),
        ([0.0, float("inf")], datasets.Value("float64"), "label inf is not a whole number in row 1"),
    ],
)
def test_bad_labels_name_the_first_row(values, feature, message):
    with pytest.raises(DataError, match=message):
        read_labels(labelled(values, feature), "label")


def test_a_label_column_that_is_a_list_is_refused():
    with pytest.raises(SourceError, match="label column 'label' is of type List; expected strings or whole"):
        read_labels(labelled([[1], [2]], datasets.List(NUMBER)), "label")


def test_groups():
    assert read_groups(labelled([3, 3, 7], NUMBER), "label").tolist() == ["3", "3", "7"]
    assert read_groups(labelled(["x", "y"], TEXT), "label").tolist() == ["x", "y"]
    with pytest.raises(DataError, match="no group in row 1"):
        read_groups(labelled(["x", None], TEXT), "label")
    with pytest.raises(SourceError, match="is no scalar"):
        read_groups(labelled([[1], [2]], datasets.List(NUMBER)), "label")
