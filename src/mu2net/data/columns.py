"""Which columns of a table hold the images, the labels and the groups, and what the labels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu2net.data.source import TaskSource
from mu2net.data.tables import Table
from mu2net.data.task import Int64Array
from mu2net.errors import DataError, SourceError, UnknownNameError

_IMAGE_NAMES = ("image", "img", "picture", "pixels", "image_path", "path", "file", "file_name", "filename", "filepath")
_LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")


@dataclass(frozen=True)
class Columns:
    """The columns of a table that count.

    Args:
        image: Column of the images.
        label: Column of the labels.
        group: Column of the groups, or ``None``.
    """

    image: str
    label: str
    group: str | None


def find_columns(table: Table, source: TaskSource) -> Columns:
    """Return the columns that a source names, or that can be nothing else.

    Args:
        table: The table.
        source: The names that the user gave, if any.

    Raises:
        UnknownNameError: A named column does not exist; the message lists the closest match.
        SourceError: A column cannot be told from the others, or is of no usable type.
    """
    features: Mapping[str, Any] = table.dataset.features
    for named in (source.image_column, source.label_column, source.group_column):
        if named is not None and named not in features:
            raise UnknownNameError(f"column of {table.name}", named, features)
    image = source.image_column or _find_image(table, features)
    if not _may_hold_images(features[image]):
        raise SourceError(
            f"{table.name}: column {image!r} is of type {_type_name(features[image])}; expected encoded images, their "
            "bytes or their paths; name another image column"
        )
    label = source.label_column or _find_label(table, features, image)
    return Columns(image, label, source.group_column)


def _type_name(feature: Any) -> str:
    dtype = getattr(feature, "dtype", None)
    return str(dtype) if dtype else type(feature).__name__


def _may_hold_images(feature: Any) -> bool:
    import datasets

    if isinstance(feature, datasets.Image):
        return True
    if isinstance(feature, Mapping):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary", "string", "large_string")


def _choose(table: Table, what: str, features: Mapping[str, Any], tiers: Sequence[Sequence[str]]) -> str:
    """Return the only name of the first tier that has one; several are an error."""
    for names in tiers:
        if len(names) == 1:
            return names[0]
        if names:
            raise SourceError(
                f"{table.name} has several columns that may be the {what}: {', '.join(names)}; name the {what} column"
            )
    raise SourceError(
        f"{table.name} has no column that can be taken for the {what}; name the {what} column "
        f"(its columns: {', '.join(features)})"
    )


def _find_image(table: Table, features: Mapping[str, Any]) -> str:
    import datasets

    typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    encoded = [name for name, feature in features.items() if isinstance(feature, Mapping) and _may_hold_images(feature)]
    known = [name for name in _IMAGE_NAMES if name in features and _may_hold_images(features[name])]
    preferred = [name for name in known[:1] if name in typed or not typed]
    return _choose(table, "image", features, [preferred, typed, encoded])


def _find_label(table: Table, features: Mapping[str, Any], image: str) -> str:
    import datasets

    typed = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    known = [name for name in _LABEL_NAMES if name in features and name != image]
    preferred = [name for name in known[:1] if name in typed or not typed]
    return _choose(table, "label", features, [preferred, typed])


@dataclass(frozen=True)
class Labels:
    """The labels of a table.

    Args:
        names: Class names.
        indices: Index into ``names`` for every row, shape ``[rows]``.
    """

    names: tuple[str, ...]
    indices: Int64Array


def read_labels(table: Table, column: str) -> Labels:
    """Return a table's labels: the declared classes, else the distinct values, sorted.

    Strings sort by code points, integers by value, ``False`` before ``True``; floating-point labels must be whole
    numbers.

    Args:
        table: The table.
        column: Name of the label column.

    Raises:
        DataError: A label is missing, NaN, not whole, negative or beyond the declared classes; names the first row.
        SourceError: The column's type cannot be a label.
    """
    import datasets
    import pyarrow as pa

    feature = table.dataset.features[column]
    values = table.column(column).combine_chunks()
    _check_present(table, column, values)
    if isinstance(feature, datasets.ClassLabel):
        return _declared(table, column, tuple(feature.names), values.to_numpy(zero_copy_only=False))
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        encoded = values.dictionary_encode()
        names = [str(name) for name in encoded.dictionary.to_pylist()]
        _check_words(table, column, names, encoded.indices.to_numpy(zero_copy_only=False))
        order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        indices = rank[encoded.indices.to_numpy(zero_copy_only=False)]
        return Labels(tuple(names[index] for index in order), indices)
    return _numbers(table, column, feature, values.to_numpy(zero_copy_only=False))


def _bad(table: Table, column: str, row: int, found: str, expected: str) -> DataError:
    return DataError(
        f"{table.name}: label {found} in row {row} of column {column!r}; expected {expected}; correct the row"
    )


def _check_present(table: Table, column: str, values: Any) -> None:
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        more = f" (and {values.null_count - 1:,} more rows)" if values.null_count > 1 else ""
        raise _bad(table, column, row, f"is missing{more}", "a class for every image")


def _check_words(table: Table, column: str, names: Sequence[str], indices: NDArray[Any]) -> None:
    for index, name in enumerate(names):
        if not name.strip():
            row = int(np.flatnonzero(indices == index)[0])
            raise _bad(table, column, row, f"{name!r} is empty", "a class name")


def _declared(table: Table, column: str, names: tuple[str, ...], values: NDArray[Any]) -> Labels:
    wrong = np.flatnonzero((values < 0) | (values >= len(names)))
    if len(wrong):
        row = int(wrong[0])
        expected = f"0 to {len(names) - 1} (the {len(names)} declared classes)"
        raise _bad(table, column, row, f"{int(values[row])} is out of range", expected)
    return Labels(names, values.astype(np.int64))


def _numbers(table: Table, column: str, feature: Any, values: NDArray[Any]) -> Labels:
    if values.dtype == np.bool_:
        return Labels(("False", "True"), values.astype(np.int64))
    if values.dtype.kind not in "iuf":
        raise SourceError(
            f"{table.name}: label column {column!r} is of type {_type_name(feature)}; expected strings or whole "
            "numbers; name another label column"
        )
    whole = np.isfinite(values) & (values == np.floor(values))
    if not whole.all():
        row = int(np.flatnonzero(~whole)[0])
        found = "is NaN" if np.isnan(values[row]) else f"{values[row]} is not a whole number"
        raise _bad(table, column, row, found, "whole numbers or strings")
    if len(values) and values.min() < 0:
        row = int(np.flatnonzero(values < 0)[0])
        raise _bad(table, column, row, f"{int(values[row])} is out of range", "0 or more (-1 often means 'unlabelled')")
    distinct, indices = np.unique(values, return_inverse=True)
    return Labels(tuple(str(int(value)) for value in distinct), indices.astype(np.int64))


def read_groups(table: Table, column: str) -> NDArray[np.str_]:
    """Return the group of every row as a string, shape ``[rows]``.

    Args:
        table: The table.
        column: Name of the group column.

    Raises:
        DataError: A group is missing; names the first row.
        SourceError: The column holds neither strings nor numbers.
    """
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{table.name}: no group in row {row} of column {column!r}; give every image a group")
    try:
        return np.asarray(values.cast(pa.string()).to_pylist(), dtype=np.str_)
    except pa.ArrowException as error:
        raise SourceError(f"{table.name}: group column {column!r} is no scalar; name another group column") from error
