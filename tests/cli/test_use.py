from __future__ import annotations

import json
from pathlib import Path

import pytest

from mu2net.errors import ImageError, UnknownNameError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "notes.txt", "clip.mpg", "paper.pdf", "more/c.jpeg"):
        (folder / name).touch()
    return folder


def test_predict_takes_files_and_folders(run, fake, photos):
    result = run("predict", "pets", photos / "b.png", "photos", "--top", 1)
    assert result.exit_code == 0
    _, arguments = next(call for call in fake.calls if call[0] == "predict_many")
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
    assert answer == [{"task": "pets", "image": "photos/b.png", "label": "cat", "probability": 0.971, "top": top}]


def test_predict_for_several_tasks_names_them(run, fake, photos):
    text = run("predict", "pets, flowers", "photos/b.png").stdout
    assert [line.split()[:3] for line in text.splitlines() if "b.png" in line] == [
        ["photos/b.png", "pets", "cat"],
        ["photos/b.png", "flowers", "cat"],
    ]


def test_predict_writes_a_csv_file(run, fake, photos, tmp_path):
    result = run("predict", "pets,flowers", "photos", "--csv", "out.csv", "--top", 3)
    assert result.exit_code == 0
    assert "6 predictions in out.csv" in result.stdout
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "image,task,label,probability,label_2,probability_2,label_3,probability_3"
    assert lines[1] == "photos/a.JPG,pets,cat,0.971000,dog,0.029000,,"
    assert len(lines) == 7
    assert not list(tmp_path.glob(".*"))


def test_a_csv_file_is_complete_or_not_there(run, fake, photos, tmp_path):
    (tmp_path / "out.csv").write_text("before")
    fake.errors["predict_many"] = ImageError("image 'photos/b.png' does not decode")
    assert run("predict", "pets", "photos", "--csv", "out.csv").exit_code == 2
    assert (tmp_path / "out.csv").read_text() == "before"
    assert not list(tmp_path.glob(".*"))


def test_csv_where_it_cannot_be_written(run, fake, photos):
    result = run("predict", "pets", "photos", "--csv", "nowhere/out.csv")
    assert result.exit_code == 2
    assert "--csv 'nowhere/out.csv' cannot be written: No such file or directory" in result.stderr
    result = run("predict", "pets", "photos", "--csv", "out.csv", "--json")
    assert result.exit_code == 2
    assert "--csv and --json exclude each other" in result.stderr


def test_bad_images_can_be_left_out(run, fake, photos):
    (photos / "bad.png").touch()
    result = run("predict", "pets", "photos", "--skip-bad-images", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)) == 3
    assert "left out: image 'photos/bad.png' does not decode" in result.stderr


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
    fake.errors["predict_many"] = ImageError("image 'photos/b.png' does not decode")
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
