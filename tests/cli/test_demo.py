from __future__ import annotations

import json

import pytest

from mu2net.cli import demo
from mu2net.cli.demo import IMAGE_SIZE, MARKER, ROOT, TASKS


@pytest.fixture
def demonstration(fake):
    """A fake that knows the demonstration's tasks."""
    from dataclasses import replace

    fake.tasks_of_it = [replace(fake.tasks_of_it[0], name=task.name) for task in TASKS]
    return fake


def names(fake, call):
    return [arguments["name"] for name, arguments in fake.calls if name == call]


def test_three_tasks_are_learned_one_after_another_and_verified(run, demonstration, tmp_path):
    result = run("demo")
    assert result.exit_code == 0, result.output
    assert demonstration.calls[0][1]["root"] == ROOT
    assert demonstration.calls[0][1]["image_size"] == IMAGE_SIZE
    assert names(demonstration, "add_task") == ["mnist5k", "digits", "shapes"] == names(demonstration, "evolve")
    order = [name for name, _ in demonstration.calls if name in ("add_task", "evolve", "verify")]
    assert order == ["add_task", "evolve"] * 3 + ["verify"]
    assert result.stdout.count("accounted: all its parameters") == 3, "a leaderboard after each task"
    assert result.stdout.splitlines()[-1] == demonstration.verification.sentence()


def test_seeds_and_budgets_are_constants(run, demonstration):
    run("demo")
    budgets = [call[1]["seconds"] for call in demonstration.calls if call[0] == "evolve"]
    assert budgets == [task.seconds for task in TASKS]
    assert all(call[1]["seed"] is not None for call in demonstration.calls if call[0] == "evolve")


def test_the_system_is_removed_unless_it_is_kept(run, demonstration, tmp_path):
    run("demo", "--dir", "here")
    assert not (tmp_path / "here").exists()
    result = run("demo", "--dir", "here", "--keep")
    assert (tmp_path / "here" / MARKER).is_file()
    assert "mu2net show shapes --system here" in result.stdout


def test_an_earlier_demonstration_is_replaced(run, demonstration, tmp_path):
    run("demo", "--keep")
    (tmp_path / "mu2net-demo" / "old").touch()
    assert run("demo", "--keep").exit_code == 0
    assert not (tmp_path / "mu2net-demo" / "old").exists()


@pytest.mark.parametrize("kind", ["folder", "system", "file"])
def test_nothing_else_is_ever_overwritten(run, demonstration, tmp_path, kind):
    place = tmp_path / "mine"
    if kind == "file":
        place.write_text("precious")
    else:
        place.mkdir()
        (place / ("mu2net.toml" if kind == "system" else "thesis.tex")).write_text("precious")
    result = run("demo", "--dir", "mine")
    assert result.exit_code == 2
    assert "was not made by `mu2net demo`; nothing was touched" in result.stderr
    assert "--dir DIR" in result.stderr
    assert demonstration.calls == []
    kept = place if kind == "file" else next(place.iterdir())
    assert kept.read_text() == "precious"


def test_an_empty_folder_may_be_used(run, demonstration, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(demonstration, "create", classmethod(lambda cls, directory, **options: cls()))
    assert run("demo", "--dir", "empty").exit_code == 0


def test_missing_packages_are_named_with_the_command_that_installs_them(run, demonstration, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "mlxtend" else object())
    result = run("demo")
    assert result.exit_code == 2
    assert "not installed: mlxtend" in result.stderr
    assert "pip install 'mu2net[demo]'" in result.stderr
    assert demonstration.calls == []


def test_damage_is_exit_code_1_and_keeps_the_system(run, demonstration, tmp_path):
    demonstration.verification = demonstration.damaged
    result = run("demo")
    assert result.exit_code == 1
    assert "DAMAGED" in result.stdout
    assert (tmp_path / "mu2net-demo").is_dir(), "the evidence"


def test_ctrl_c_ends_the_demonstration(run, demonstration):
    from mu2net.search.events import StopRequested

    demonstration.events = [StopRequested("interval")]
    result = run("demo")
    assert result.exit_code == 130
    assert names(demonstration, "evolve") == ["mnist5k"]


def test_as_json(run, demonstration):
    result = run("demo", "--json")
    answer = json.loads(result.stdout)
    assert [task["name"] for task in answer["tasks"]] == ["mnist5k", "digits", "shapes"]
    assert answer["verification"]["is_intact"] is True
    assert answer["seconds"] >= 0
