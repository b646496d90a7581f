"""A smoke run of ``make bench-serving`` on tiny tasks; its figures mean nothing."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.serving.__main__ import main
from benchmarks.serving.load import run_load
from benchmarks.serving.served import Server, Start, encoded_images

ROOT = "vit:dim=16,depth=4,heads=2,patch=4,image=8"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory, pictures):
    """A folder with the Parquet files of two tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    for seed, name in enumerate(("one", "two")):
        made = pictures(folder / f"{name}-pictures", seed=seed, counts=(40, 8, 8))
        (folder / name).mkdir()
        for split in ("train", "test"):
            files = sorted((made / split).rglob("*.png"))
            table = pa.table(
                {
                    "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
                    "label": [file.parent.name for file in files],
                }
            )
            pq.write_table(table, folder / name / f"{split}-00000-of-00001.parquet")
    return folder


def measure(tasks, work, *parts):
    """Run the command; return the figures and the rest."""
    output = work / "serving.json"
    options = ["--tasks", str(tasks), "--root", ROOT, "--names", "one", "two", "--trained", "1"]
    small = ["--pairs", "1", "--images", "4", "--seconds", "0.5", "--soak", "5", "--work", str(work)]
    assert main([*options, *small, "--only", *parts, "--output", str(output)]) == 0
    content = json.loads(output.read_text())
    return content["figures"], content["rows"]


@pytest.mark.thorough
def test_figures_of_a_tiny_system(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    figures, rows = measure(tasks, tmp_path, "all_tasks", "labels")
    assert set(figures) == {"all_tasks", "label_differences"}
    assert figures["all_tasks"] > 0
    assert rows["all_tasks"]["largest_logit_difference"] < 1e-4
    assert figures["label_differences"] == 0
    assert rows["label_differences"]["images"] > 0


@pytest.mark.thorough
def test_servers_under_load(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    figures, rows = measure(tasks, tmp_path, "onnx", "int8", "overhead", "soak")
    assert set(figures) == {"onnx", "int8_1", "int8_32", "overhead", "soak_failed", "soak_memory"}
    assert rows["onnx"]["largest_logit_difference"] < 1e-4
    assert min(figures[name] for name in ("onnx", "int8_1", "int8_32")) > 0
    assert figures["soak_failed"] == 0
    assert rows["soak_failed"]["answered"] > 0
    assert rows["soak_failed"]["changes"] >= 1
    with Server(Start(tmp_path / "system", 1, ("--rate", "0.01", "--burst", "2"))) as server:
        files = encoded_images(tasks / "one", 3, 0)
        assert [Image.open(io.BytesIO(file)).size for file in files] == [(8, 8)] * 3
        load = run_load({"one": server.url}, files, clients=2, seconds=1.0, seed=0, warm_up=0.0)
    assert load.statuses["200"] == 2, "what is refused is counted too"
    assert load.statuses["429"] > 0
    assert load.rate == 2.0
    assert 0 < load.latency[0] <= load.latency[2]
