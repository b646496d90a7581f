from __future__ import annotations

import json
from pathlib import Path


def test_importing_a_task_says_what_came_and_what_shaped_it(run, fake):
    result = run("import-task", "../other", "pets")
    assert result.exit_code == 0, result.stderr
    assert "task pets is here: path pets/0/1/2, 12 files of 4.5 MB copied, 30 were there already" in result.stdout
    assert "data of these tasks shaped it: flowers, pets" in result.stdout
    assert "mu2net provenance pets" in result.stdout
    options = {"as_name": None, "renamed": {}, "is_private": False}
    assert ("import_task", {"other": Path("../other"), "name": "pets", **options}) in fake.calls


def test_other_names_and_privacy(run, fake):
    renamed = ("--rename", "a=b", "--rename", "c=d")
    result = run("import-task", "x", "pets", "--as", "cats", *renamed, "--private", "--json")
    assert json.loads(result.stdout)["task"] == "cats"
    options = {"as_name": "cats", "renamed": {"a": "b", "c": "d"}, "is_private": True}
    assert ("import_task", {"other": Path("x"), "name": "pets", **options}) in fake.calls
    for bad in ("a", "a=", "=b"):
        result = run("import-task", "x", "pets", "--rename", bad)
        assert result.exit_code == 2
        assert f"--rename is {bad!r}; expected OLD=NEW" in result.stderr


def test_exporting_a_system_says_what_was_left_out(run, fake):
    result = run("export-system", "new")
    assert result.exit_code == 0, result.stderr
    assert "pets: path pets/0/0/0, 2 files of 1.0 kB copied" in result.stdout
    assert "system 'new' has 1 task" in result.stdout
    assert "left out, private or never evolved: flowers; name them with --tasks" in result.stdout
    assert ("export_system", {"directory": Path("new"), "tasks": None}) in fake.calls


def test_exporting_named_tasks(run, fake):
    result = run("export-system", "new", "--tasks", "pets, flowers")
    assert "has 2 tasks" in result.stdout
    assert "left out" not in result.stdout
    found = json.loads(run("export-system", "new", "--json").stdout)
    assert found["directory"] == "new"
    assert found["left_out"] == ["flowers"]
    assert [task["task"] for task in found["tasks"]] == ["pets"]


def test_provenance_says_what_is_elsewhere(run, fake):
    fake.elsewhere = ("flowers",)
    assert "not tasks of this system, but of one that was imported from: flowers" in run("provenance", "pets").stdout
