from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from mu2net.data import rows as rows_module
from mu2net.data.rows import Rows, decode_rows
from mu2net.data.tables import Table
from mu2net.errors import ImageError


def rows_of(values, feature, bases=()) -> Rows:
    dataset = datasets.Dataset.from_dict({"image": values}, features=datasets.Features(image=feature))
    return Rows(Table(dataset, "'data'", bases), "image")


def read_all(rows):
    return rows.read(np.arange(len(rows)))


def test_every_kind_of_column(tmp_path):
    bases = ((0, tmp_path / "a"), (1, tmp_path / "b"))
    assert read_all(rows_of([b"x", None], datasets.Value("binary"))) == [
        (b"x", "in row 0 of 'data'"),
        (None, "in row 1 of 'data'"),
    ]
    assert [item[0] for item in read_all(rows_of(["1.png", "2.png", "/3.png"], datasets.Value("string"), bases))] == [
        tmp_path / "a" / "1.png",
        tmp_path / "b" / "2.png",
        Path("/3.png"),
    ]
    structs = [{"bytes": b"x", "path": "p.png"}, {"bytes": None, "path": "p.png"}, {"bytes": None, "path": None}]
    feature = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    found = read_all(rows_of(structs, feature, ((0, tmp_path),)))
    assert found[0] == (b"x", "in row 0 of 'data' ('p.png')")
    assert found[1] == (tmp_path / "p.png", f"'{tmp_path / 'p.png'}' (in row 1 of 'data')")
    assert found[2][0] is None


def test_members_of_zip_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/1.png", b"content")
    names = [f"zip://d/1.png::{tmp_path}/a.zip", f"zip://d/2.png::{tmp_path}/a.zip", "zip://x::/no.zip"]
    assert [item[0] for item in read_all(rows_of(names, datasets.Value("string")))] == [b"content", None, None]


def test_decoding_keeps_the_order_and_bounds_what_is_in_memory(monkeypatch):
    monkeypatch.setattr(rows_module, "BATCH", 4)
    rows = rows_of([bytes([value]) for value in range(30)], datasets.Value("binary"))
    sizes, done, threads = [], [], set()
    read = rows.read
    monkeypatch.setattr(rows, "read", lambda its: sizes.append(len(its)) or read(its))

    def work(encoded, name):
        threads.add(threading.get_ident())
        if encoded == b"\x05":
            raise ImageError(f"{name} is bad")
        return encoded[0]

    order = np.arange(30)[::-1]
    found = list(decode_rows(rows, order, work, lambda now, total: done.append((now, total))))
    assert str(found[24]) == "in row 5 of 'data' is bad"
    assert [value for value in found if not isinstance(value, ImageError)] == [v for v in order.tolist() if v != 5]
    assert max(sizes) == 4
    assert done[-1] == (30, 30)
    assert threading.get_ident() not in threads


def test_an_empty_row_is_an_error_of_that_image():
    [found] = decode_rows(rows_of([None], datasets.Value("binary")), np.array([0]), lambda *_: 0)
    assert isinstance(found, ImageError)
    assert "in row 0 of 'data' is missing" in str(found)


def test_other_errors_are_not_swallowed():
    def work(encoded, name):
        raise KeyError("bug")

    with pytest.raises(KeyError):
        list(decode_rows(rows_of([b"x"], datasets.Value("binary")), np.array([0]), work))
