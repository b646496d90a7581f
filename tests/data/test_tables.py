from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mu2net.data.tables import FileOrigin, open_origin
from mu2net.errors import SourceError


def test_class_folders_become_tables(tmp_path, class_folders):
    class_folders(tmp_path / "train", {"a": 2, "b": 1})
    class_folders(tmp_path / "test", {"b": 1})
    tables = open_origin(str(tmp_path)).tables(tmp_path / "cache")
    assert list(tables) == ["train", "test"]
    assert tables["train"].column("label").to_pylist() == [0, 0, 1]
    assert tables["train"].dataset.features["label"].names == ["a", "b"]
    assert tables["test"].column("image").to_pylist() == [str(tmp_path / "test" / "b" / "000.png")]
    assert len(tables["train"]) == 3


def test_parquet_lies_in_the_cache_folder_and_keeps_its_order(tmp_path, table_file):
    table_file(tmp_path / "in" / "train-1.parquet", ["c", "d"])
    table_file(tmp_path / "in" / "train-0.parquet", ["a", "b"])
    table = open_origin(str(tmp_path / "in")).tables(tmp_path / "cache")["train"]
    assert table.column("label").to_pylist() == ["a", "b", "c", "d"]
    assert table.column("label", [3, 0]).to_pylist() == ["d", "a"]
    assert all(Path(file["filename"]).is_relative_to(tmp_path / "cache") for file in table.dataset.cache_files)


def test_names_that_look_like_patterns(tmp_path, table_file):
    folder = tmp_path / "a[1] *"
    table_file(folder / "x.parquet", ["a", "b"])
    table_file(tmp_path / "a1 b" / "x.parquet", ["c", "d"])
    table = open_origin(str(folder / "x.parquet")).tables(tmp_path / "cache")["train"]
    assert table.column("label").to_pylist() == ["a", "b"]


def test_a_replaced_table_is_read_again(tmp_path, table_file):
    path = table_file(tmp_path / "x.parquet", ["a", "b"])
    open_origin(str(path)).tables(tmp_path / "cache")
    table_file(path, ["c", "d"])
    os.utime(path, (1, 1))
    assert open_origin(str(path)).tables(tmp_path / "cache")["train"].column("label").to_pylist() == ["c", "d"]


def test_csv_bases_are_the_folders_of_the_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text("image,label\na.png,NA\nb.png,None\n")
    table = open_origin(str(tmp_path)).tables(tmp_path / "cache")["train"]
    assert table.column("label").to_pylist() == ["NA", "None"] * 2
    assert table.bases == ((0, tmp_path / "one"), (2, tmp_path / "two"))


@pytest.mark.parametrize("name", ["junk.parquet", "empty.csv", "binary.csv"])
def test_damaged_tables_are_named(tmp_path, name, capfd):
    (tmp_path / name).write_bytes(
        {"junk.parquet": b"junk", "empty.csv": b"", "binary.csv": b"\xff\xfe\x00\n" * 9}[name]
    )
    with pytest.raises(SourceError, match=rf"source '.*{name}' cannot be read: .*; check that it is complete"):
        open_origin(str(tmp_path / name)).tables(tmp_path / "cache")
    assert capfd.readouterr().err == ""


def test_tables_that_do_not_fit_together(tmp_path, table_file):
    table_file(tmp_path / "a" / "x.parquet", ["a"])
    table_file(tmp_path / "b" / "x.parquet", [1.5])
    with pytest.raises(SourceError, match="cannot be read"):
        open_origin(str(tmp_path)).tables(tmp_path / "cache")


def test_identity_names_the_files(tmp_path, class_folders):
    origin = open_origin(str(class_folders(tmp_path, {"a": 1})))
    assert isinstance(origin, FileOrigin)
    assert origin.identity() == ["files", str(tmp_path), origin.listing.stamp]


def test_local_sources_touch_neither_network_nor_home(tmp_path, table_file):
    path = table_file(tmp_path / "x.parquet", [0, 0, 0, 0, 1, 1, 1, 1])
    home = tmp_path / "home"
    home.mkdir()
    program = f"""
import socket, sys
def refuse(*args): raise RuntimeError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
task = load_task(TaskSource(name="x", source={str(path)!r}), Path({str(tmp_path / "cache")!r}))
assert len(task.train) == 4, len(task.train)
assert "torch" not in sys.modules
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    subprocess.run([sys.executable, "-c", program], check=True, env={**kept, "HOME": str(home)}, timeout=120)
    assert list(home.iterdir()) == []


def test_importing_the_package_imports_no_heavy_library():
    program = "import sys, mu2net.data.load as _; assert not {'torch', 'datasets', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
