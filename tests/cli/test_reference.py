from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mu2net.cli.app import COMMANDS

SCRIPT = Path(__file__).parents[2] / "docs" / "build_reference.py"


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_reference", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(builder, name):
    page = builder.TARGET.read_text(encoding="utf-8")
    assert f"## mu2net {name}\n" in page
    assert f"mu2net {name} " in page


def test_every_option_is_documented(builder):
    page = builder.reference()
    for option in (
        "--system DIR",
        "--set NAME=VALUE",
        "--time TIME",
        "--private",
        "--skip-bad-images",
        "--keep",
        "--json",
    ):
        assert f"`{option}`" in page


def test_the_page_is_up_to_date(builder):
    assert builder.main(["--check"]) == 0, "run: make docs"


def test_a_stale_page_is_found(builder, tmp_path, monkeypatch, capsys):
    target = tmp_path / "cli.md"
    monkeypatch.setattr(builder, "TARGET", target)
    assert builder.main(["--check"]) == 1
    assert "make docs" in capsys.readouterr().err
    assert builder.main([]) == 0
    assert builder.main(["--check"]) == 0
    target.write_text(target.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert builder.main(["--check"]) == 1


def test_the_width_of_the_terminal_and_the_environment_do_not_matter():
    environment = {**os.environ, "COLUMNS": "30", "MU2NET_SYSTEM": "/elsewhere", "TERM": "dumb"}
    subprocess.run([sys.executable, SCRIPT, "--check"], env=environment, check=True)
