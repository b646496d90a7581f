from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest
from PIL import Image

from mu2net.errors import ConfigError, ImageError, UnknownNameError
from mu2net.search.events import Preparing
from mu2net.system import many
from mu2net.system.many import choose_tasks


@pytest.fixture
def files(evolved):
    return sorted((Path(evolved.task("one").source) / "test").rglob("*.png"))


def test_many_tasks_and_images(evolved, files, monkeypatch):
    """In the order of the images, and for each in the order of the tasks, whatever the batches are."""
    monkeypatch.setattr(many, "BATCH", 7)
    told = []
    found = list(evolved.predict_many(["*"], files, top=2, observer=told.append))
    assert [(answer.image, answer.task) for answer in found] == [(str(f), n) for f in files for n in ("one", "two")]
    for name in ("one", "two"):
        alone = evolved.predict(name, files, top=2)
        together = [answer for answer in found if answer.task == name]
        assert [answer.label for answer in together] == [answer.label for answer in alone]
        assert [a.probability for a in together] == pytest.approx([a.probability for a in alone], abs=1e-5)
        assert all(len(answer.top) == 2 and answer.top[0] == (answer.label, answer.probability) for answer in together)
    assert [event.done for event in told if isinstance(event, Preparing)] == [7, 14, 21, 24]


def test_large_photographs_are_not_held(evolved, tmp_path, monkeypatch):
    """Of a batch only what networks need of the images, and the one that is being read."""
    opened_so_far, most = [], []
    original = many.open_rgb

    def opened(item, index):
        image = original(item, index)
        opened_so_far.append(weakref.ref(image))
        most.append(sum(one() is not None for one in opened_so_far))
        return image

    monkeypatch.setattr(many, "open_rgb", opened)
    for number in range(6):
        Image.new("RGB", (300, 200), (40 * number, 0, 0)).save(tmp_path / f"{number}.jpg")
    assert len(list(evolved.predict_many(["one", "two"], sorted(tmp_path.glob("*.jpg"))))) == 12
    assert max(most) <= 2


def test_a_name_that_is_no_utf_8_can_be_written_anywhere(evolved, tmp_path):
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (9, 9)).save(file)
    (found,) = evolved.predict_many(["one"], [file])
    assert found.image.endswith("caf\\udce9.png")
    assert found.image.encode()


def test_a_task_that_is_evolved_meanwhile_answers_anew(evolved, files, small):
    before = [answer.probability for answer in evolved.predict_many(["one"], files)]
    path = evolved.task("one").path_id
    for seed in range(20):
        evolved.evolve("one", children=2, seed=seed, **small)
        if evolved.task("one").path_id != path:
            break
    after = [answer.probability for answer in evolved.predict_many(["one"], files)]
    assert before != after
    assert after == pytest.approx([answer.probability for answer in evolved.predict("one", files)], abs=1e-5)


def test_bad_images_are_an_error_or_left_out(evolved, files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.png"):
        list(evolved.predict_many(["one"], [files[0], bad]))
    told = []
    found = list(evolved.predict_many(["one"], [bad, files[0], bad], on_bad_image=told.append))
    assert [answer.image for answer in found] == [str(files[0])]
    assert ["bad.png" in str(error) for error in told] == [True, True]
    assert list(evolved.predict_many(["one"], [bad], on_bad_image=told.append)) == []


def test_images_in_memory(evolved, files):
    image = Image.open(files[0])
    (found,) = evolved.predict_many(["one"], [image])
    assert found.image == "image[0]"
    assert list(evolved.predict_many(["one"], [])) == []


def test_nonsense_is_refused(evolved, files):
    with pytest.raises(ConfigError, match="top is 0"):
        list(evolved.predict_many(["one"], files, top=0))
    with pytest.raises(ConfigError, match="expected a list of images"):
        list(evolved.predict_many(["one"], files[0]))
    with pytest.raises(UnknownNameError, match="did you mean 'one'"):
        evolved.predict_many(["onee"], files)


def test_patterns_of_names():
    known, evolved = ["cars", "birds", "cats", "new"], ["cars", "birds", "cats"]
    assert choose_tasks(["*"], known, evolved) == evolved
    assert choose_tasks(["cats", "c*"], known, evolved) == ["cars", "cats"]
    assert choose_tasks(["birds"], known, evolved) == ["birds"]
    with pytest.raises(ConfigError, match="task 'new' has no path yet; run: mu2net evolve new"):
        choose_tasks(["*", "new"], known, evolved)
    with pytest.raises(ConfigError, match=r"no task with a path is called 'n\*'"):
        choose_tasks(["n*"], known, evolved)
    with pytest.raises(UnknownNameError, match="did you mean 'birds'"):
        choose_tasks(["bird"], known, evolved)
    with pytest.raises(ConfigError, match="no task is named"):
        choose_tasks([], known, evolved)
