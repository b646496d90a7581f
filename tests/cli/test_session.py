from __future__ import annotations

from pathlib import Path

import pytest

WITH_SYSTEM = [
    ("add", "pets", "folder"),
    ("evolve",),
    ("tasks",),
    ("show", "pets"),
    ("history", "pets"),
    ("predict", "pets", "cat.png"),
    ("eval", "pets"),
    ("verify",),
]


@pytest.mark.parametrize("arguments", WITH_SYSTEM)
def test_no_system_says_which_folder_and_what_to_do(run, fake, arguments):
    result = run(*arguments, "--system", "elsewhere")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: no system here: folder 'elsewhere' does not exist.")
    for way_out in ("--system DIR", "MU2NET_SYSTEM=DIR", "mu2net init --system 'elsewhere'"):
        assert way_out in result.stderr
    assert fake.calls == []


def test_a_folder_that_is_no_system(run, fake, tmp_path):
    (tmp_path / "photos").mkdir()
    result = run("tasks", "--system", "photos")
    assert result.exit_code == 2
    assert "folder 'photos' holds no system" in result.stderr


def test_a_file_in_place_of_the_system(run, fake, tmp_path):
    (tmp_path / "file").touch()
    result = run("tasks", env={"MU2NET_SYSTEM": "file"})
    assert result.exit_code == 2
    assert "'file' is a file" in result.stderr


@pytest.mark.parametrize("arguments", WITH_SYSTEM)
def test_the_system_is_closed_after_an_error(run, fake, arguments):
    fake.errors |= dict.fromkeys(
        ("add_task", "evolve", "tasks", "path", "history", "task", "evaluate", "verify"), OSError()
    )
    run(*arguments)
    assert fake.calls[-1] == ("close", {})


def test_the_only_system_of_the_folder_is_used_and_named(run, fake, tmp_path):
    (tmp_path / "mu2net-system").rename(tmp_path / "mine")
    (tmp_path / "photos").mkdir()
    result = run("tasks", "--json")
    assert result.exit_code == 0
    assert fake.calls[0] == ("open", {"directory": Path("mine")})
    assert result.stderr == "using the system in 'mine', the only one here\n"
    assert run("tasks", env={"MU2NET_SYSTEM": "mu2net-system"}).exit_code == 2, "a named system is never replaced"
    assert run("tasks", "--system", "mu2net-system").exit_code == 2


def test_several_systems_are_listed_and_none_is_chosen(run, fake, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mu2net.toml").touch()
    assert run("tasks").exit_code == 0, "the default is there"
    (tmp_path / "mu2net-system" / "mu2net.toml").unlink()
    (tmp_path / "mu2net-system").rmdir()
    result = run("tasks")
    assert result.exit_code == 2
    assert "there are several systems here: 'a', 'b'. Say which one with --system DIR" in result.stderr
