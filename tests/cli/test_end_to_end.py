"""The commands against the real system, with a tiny random network and a generated folder of images."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mu2net.cli import app

ROOT = "vit:dim=32,depth=2,heads=2,patch=4,image=16"
COLORS = {"blue": (30, 30, 200), "green": (30, 200, 30), "red": (200, 30, 30)}
BUDGET = ("--children", "2", "--generation-size", "2", "--workers", "1", "--seed", "1")


def make_images(folder, count):
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.clip(rng.normal(color, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a system that learned one task, made by commands alone."""
    place = tmp_path_factory.mktemp("place")
    make_images(place / "colors", 24)
    good = [
        command(place, "init", "--root", ROOT),
        command(place, "add", "colors", place / "colors"),
        command(place, "evolve", "colors", *BUDGET),
    ]
    assert [result.exit_code for result in good] == [0, 0, 0], "".join(result.output for result in good)
    assert "Added task colors: 3 classes" in good[1].stdout
    assert good[2].stdout.count(": child colors/0/0/") == 2
    assert "published colors/0/0/" in good[2].stdout
    return place


def command(place, *arguments):
    environment = {"MU2NET_SYSTEM": str(place / "s"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment, prog_name="mu2net")


def answer(place, *arguments):
    result = command(place, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_tasks(place):
    (task,) = answer(place, "tasks")
    assert task["classes"] == sorted(COLORS)
    assert task["num_train"] + task["num_validation"] + task["num_test"] == 72
    assert 0 <= task["test"] <= 1
    assert task["children"] == 2
    assert "colors" in command(place, "tasks").stdout


def test_show(place):
    path = answer(place, "show", "colors")
    assert [slot["slot"] for slot in path["slots"]][-2:] == ["norm", "head"]
    assert path["slots"][-1]["trained_by"] == "colors"
    assert path["id"] in command(place, "show", "colors").stdout


def test_history(place):
    children = answer(place, "history", "colors")
    assert [child["id"] for child in children] == ["colors/0/0/0", "colors/0/0/1"]
    assert sum(child["is_live"] for child in children) == 1
    assert "2 children of agent mu2net" in command(place, "history", "colors").stdout


def test_predict(place):
    predictions = answer(place, "predict", "colors", place / "colors" / "red" / "0.png", place / "colors" / "blue")
    assert len(predictions) == 25
    assert {label for prediction in predictions for label, _ in prediction["top"]} == set(COLORS)
    assert sum(share for _, share in predictions[0]["top"]) == pytest.approx(1, abs=1e-4)
    assert "0.png" in command(place, "predict", "colors", place / "colors" / "red" / "0.png").stdout


def test_eval_finds_the_recorded_accuracy(place):
    found = answer(place, "eval", "colors")
    assert found["accuracy"] == pytest.approx(found["recorded"])


def test_verify(place):
    found = answer(place, "verify")
    assert found["is_intact"] is True
    assert "Nothing was forgotten" in command(place, "verify").stdout


def test_a_second_task_changes_nothing_of_the_first(place):
    before = answer(place, "predict", "colors", place / "colors" / "red")
    assert command(place, "add", "again", place / "colors", "--private").exit_code == 0
    (summary,) = answer(place, "evolve", "again", *BUDGET)
    assert summary["is_private"]
    assert answer(place, "predict", "colors", place / "colors" / "red") == before
    assert answer(place, "verify")["is_intact"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "color"), "did you mean 'colors'?"),
        (("history", "nothing"), "unknown task 'nothing'"),
        (("predict", "color", "x.png"), "did you mean 'colors'?"),
        (("eval", "color"), "did you mean 'colors'?"),
        (("evolve", "color"), "did you mean 'colors'?"),
        (("evolve", "colors", "--agent", "mu2nett", "--children", "1"), "unknown agent 'mu2nett'"),
        (("evolve", "colors", "--children", "1", "--set", "opt_lrr=1"), "opt_lrr"),
        (("evolve", "colors", "--children", "1", "--s-size", "2"), "2.0"),
        (("add", "colors", "colors"), "exists already"),
        (("add", "Not Safe", "colors"), "try 'not-safe'"),
        (("add", "new", "nowhere"), "nowhere"),
        (("add", "new", "demo:digit"), "did you mean 'demo:digits'?"),
        (("init",), "already"),
        (("init", "--system", "other", "--root", "efficientnet"), "efficientnet-lite0"),
        (("init", "--system", "other", "--root", ROOT, "--image-size", "17"), "17"),
    ],
)
def test_bad_input_is_one_clear_error_and_loses_nothing(place, arguments, message, monkeypatch):
    monkeypatch.chdir(place)
    before = answer(place, "tasks")
    result = command(place, *arguments)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert len(result.stderr.splitlines()) <= 5
    assert answer(place, "tasks") == before
    assert not (place / "other").exists()


def test_bad_folders(place, tmp_path):
    (tmp_path / "empty").mkdir()
    make_images(tmp_path / "broken", 3)
    (tmp_path / "broken" / "red" / "1.png").write_bytes(b"no image")
    (tmp_path / "one").mkdir()
    (tmp_path / "broken" / "blue").rename(tmp_path / "one" / "blue")
    for folder, message in (("empty", "empty"), ("one", "1 class"), ("broken", "1.png")):
        result = command(place, "add", "bad", tmp_path / folder)
        assert result.exit_code == 2, result.output
        assert message in result.stderr


def test_damage_is_found(place, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(place / "s", copy)
    victim = max(copy.glob("components/**/*.safetensors"), key=lambda file: file.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(content)
    result = command(place, "verify", "--system", copy)
    assert result.exit_code == 1, result.output
    assert "DAMAGED" in result.stdout
    assert victim.stem[:8] in result.stdout


def test_the_installed_command_ends_with_the_same_codes(place):
    script = [sys.executable, "-c", "from mu2net.cli import main; main()"]
    environment = {**os.environ, "MU2NET_SYSTEM": str(place / "s"), "OMP_NUM_THREADS": "1"}
    wrong = subprocess.run([*script, "show", "color"], env=environment, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.startswith("error: unknown task 'color'")


def interrupted(system, presses):
    """Evolve in another process, press Ctrl-C as soon as the first generation trains; return what was printed."""
    script = [sys.executable, "-c", "from mu2net.cli import main; main()"]
    search = ["evolve", "colors", "--time", "100s", "--workers", "1", "--batch-size", "1"]
    environment = {**os.environ, "MU2NET_SYSTEM": str(system), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen([*script, *search], env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        printed = []
        while ": generation " not in "".join(printed[-1:]):
            printed.append(process.stdout.readline())
            assert printed[-1], process.stderr.read()
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        rest, errors = process.communicate(timeout=60)
    return process.returncode, "".join(printed) + rest, errors


def test_ctrl_c_twice_stops_at_once_and_once_publishes(place, tmp_path):
    shutil.copytree(place / "s", tmp_path / "s")
    before = answer(place, "history", "colors", "--system", tmp_path / "s")
    code, _, errors = interrupted(tmp_path / "s", presses=2)
    assert code == 130, errors
    assert errors.startswith("stopped: ")
    live = [child["is_live"] for child in answer(place, "history", "colors", "--system", tmp_path / "s")]
    assert live[: len(before)] == [child["is_live"] for child in before]
    code, output, errors = interrupted(tmp_path / "s", presses=1)
    assert code == 0, errors
    assert ": cycle 1 with agent mu2net" in output, "the interrupted one"
    assert "finishing this interval, then publishing; press again to stop at once" in output
    assert ": published colors/1/" in output or "stays" in output
