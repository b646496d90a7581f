from __future__ import annotations

import json
from pathlib import Path

import pytest

from mu2net.errors import ImageError, UnknownNameError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "notes.txt", "more/c.jpeg"):
        (folder / name).touch()
    return folder


def test_predict_takes_files_and_folders(run, fake, photos):
    result = run("predict", "pets", photos / "b.png", "photos", "--top", 1)
    assert result.exit_code == 0
    _, arguments = next(call for call in fake.calls if call[0] == "predict")
    assert arguments["images"] == [
        photos / "b.png",
        *(Path("photos") / file for file in ("a.JPG", "b.png", "more/c.jpeg")),
    ]
    assert arguments["top"] == 1


def test_predict_prints_label_probability_and_the_next_ones(run, fake, photos):
    line = next(line for line in run("predict", "pets", "photos/b.png").stdout.splitlines() if "b.png" in line)
    assert line.split() == ["photos/b.png", "cat", "97.10", "%", "dog", "2.90", "%"]


def test_predict_as_json(run, fake, photos):
    answer = json.loads(run("predict", "pets", "photos/b.png", "--json").stdout)
    top = [["cat", 0.971], ["dog", 0.029]]
    assert answer == [{"image": "photos/b.png", "label": "cat", "probability": 0.971, "top": top}]


def test_predict_names_what_does_not_exist(run, fake):
    result = run("predict", "pets", "cat.png")
    assert result.exit_code == 2
    assert "image 'cat.png' does not exist" in result.stderr


def test_predict_of_a_folder_without_images(run, fake, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("predict", "pets", "empty")
    assert result.exit_code == 2
    assert "folder 'empty' holds no image" in result.stderr


def test_predict_of_an_unknown_task_comes_before_images(run, fake):
    result = run("predict", "pet", "nowhere.png")
    assert result.exit_code == 2
    assert "did you mean 'pets'?" in result.stderr


def test_predict_of_an_image_that_does_not_decode(run, fake, photos):
    fake.errors["predict"] = ImageError("image 'photos/b.png' does not decode")
    result = run("predict", "pets", "photos/b.png")
    assert result.exit_code == 2
    assert "does not decode" in result.stderr


def test_eval_prints_the_accuracy_and_the_classes_the_worst_first(run, fake):
    text = run("eval", "pets").stdout
    assert "task pets: 94.00 % of 50 test images (recorded at publication: 93.75 %)" in text
    assert text.index("\ndog") < text.index("\ncat")
    assert ("evaluate", {"name": "pets", "split": "test"}) in fake.calls


def test_eval_as_json(run, fake):
    answer = json.loads(run("eval", "pets", "--split", "validation", "--json").stdout)
    assert (answer["split"], answer["accuracy"], answer["per_class"]["dog"]) == ("validation", 0.94, 0.9)


def test_eval_of_a_mistyped_split(run, fake):
    result = run("eval", "pets", "--split", "tests")
    assert result.exit_code == 2
    assert "unknown split 'tests'; did you mean 'test'?" in result.stderr


def test_eval_of_an_unknown_task(run, fake):
    fake.errors["evaluate"] = UnknownNameError("task", "pet", ["pets"])
    assert run("eval", "pet").exit_code == 2
