"""The README is a contract: its commands exist, its Python example runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from mu2net.cli import app

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_command_exists_with_its_options() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("mu2net ")]
    assert len(lines) >= 8
    for line in lines:
        words = line.partition("#")[0].split()
        options = {option for parameter in commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks("python")
    small = {
        'create("my-system")': 'create("my-system", root="vit:dim=32,depth=2,heads=2,patch=4,image=16")',
        "seconds=300": "children=2, examples_per_validation=128, num_validations=1",
    }
    for text, smaller in small.items():
        assert text in example
        example = example.replace(text, smaller)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save("digit.png")
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    assert names["prediction"].label in set("0123456789")  # type: ignore[attr-defined]


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README.read_text(encoding="utf-8")
