from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mu2net.cli import app
from mu2net.system import System


@pytest.fixture
def system(tmp_path):
    directory = tmp_path / "system"
    with System.create(directory, root="vit:dim=8,depth=1,heads=2,patch=4,image=8") as made:
        made.add_task("my-numbers", "demo:digits", is_private=True)
    return directory


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="mu2net")


def test_a_page_is_written(system, tmp_path):
    out = tmp_path / "pages" / "page.html"
    result = run("report", "--system", system, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"1 task in {out}" in result.stdout.replace("\n", "")
    assert "my-numbers" in out.read_text("utf-8")
    assert run("report", "--system", system, "--out", out, "--public").exit_code == 0
    assert "my-numbers" not in out.read_text("utf-8")


def test_json_is_what_the_page_shows(system):
    found = json.loads(run("report", "--system", system, "--json").stdout)
    assert [task["name"] for task in found["tasks"]] == ["my-numbers"]
    assert found["format_version"] == 2
