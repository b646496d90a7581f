from __future__ import annotations

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
