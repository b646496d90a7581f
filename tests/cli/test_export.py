from __future__ import annotations

import json
from pathlib import Path

import pytest

from mu2net.errors import ExportError
from mu2net.export import task as exporting
from mu2net.export.task import Exported

NOTE = "the images of 'pets' cannot be read, so it was compared on those of its probe alone"
EXPORTED = Exported(
    "out", ("config.json", "model.safetensors"), 13_600_000, ("pets",), ("secret",), 64, 3.2e-6, (NOTE,)
)


@pytest.fixture
def exports(monkeypatch):
    """What was asked for."""
    asked = []

    def export_tasks(directory, names, format_name, folder, observer):
        asked.append((directory, names, format_name, folder))
        return EXPORTED

    monkeypatch.setattr(exporting, "export_tasks", export_tasks)
    return asked


def test_an_export_says_what_was_written_and_compared(run, fake, exports):
    result = run("export", "pets", "--out", "out")
    assert result.exit_code == 0, result.stderr
    assert exports == [(Path("somewhere"), ["pets"], "safetensors", Path("out"))]
    assert "pets in out: config.json, model.safetensors (13.6 MB)" in result.stdout
    assert "answers 64 real images as in the system: all labels equal, logits within 3.2e-06" in result.stdout
    assert NOTE in result.stdout
    assert "left out because private: secret; name them to export them" in result.stdout


def test_several_tasks_and_json(run, fake, exports):
    found = json.loads(run("export", "pets, flowers", "--format", "onnx", "--out", "out", "--json").stdout)
    assert exports[0][1:3] == (["pets", "flowers"], "onnx")
    assert found["difference"] == 3.2e-6
    assert found["files"] == ["config.json", "model.safetensors"]


def test_a_refusal_is_an_error(run, fake, monkeypatch):
    def refuse(*_):
        raise ExportError("task 'pets' would answer otherwise: nothing was written")

    monkeypatch.setattr(exporting, "export_tasks", refuse)
    result = run("export", "pets", "--out", "out")
    assert result.exit_code == 2
    assert "would answer otherwise" in result.stderr
    assert run("export", "pets").exit_code == 2, "it must be said where"
