"""Right and wrong, counted by hand and on a tiny system that really learned."""

from __future__ import annotations

import base64
import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mu2net.report import quality
from mu2net.report.gather import gather
from mu2net.report.page import fit
from mu2net.report.quality import BINS, describe, known_quality, measure_quality
from mu2net.search.events import ignore
from mu2net.store.store import Store


@dataclass
class Split:
    labels: np.ndarray


@dataclass
class Data:
    name: str
    classes: tuple[str, ...]
    train: Split


DATA = Data("pets", ("cat", "dog", "eel"), Split(np.array([0, 0, 0, 1, 1, 2])))


def logits(*rows):
    """Logits whose softmax gives these probabilities."""
    return torch.log(torch.tensor(rows, dtype=torch.float64)).float()


ANSWERS = logits((0.9, 0.05, 0.05), (0.58, 0.32, 0.1), (0.11, 0.78, 0.11), (0.21, 0.21, 0.58), (0.62, 0.2, 0.18))
LABELS = np.array([0, 1, 1, 2, 2])


def test_confusions_are_counted():
    found = describe(DATA, ANSWERS, LABELS, None)
    assert (found.task, found.images, found.accuracy, found.problem) == ("pets", 5, 0.6, "")
    assert found.confusion == ((1, 0, 0), (1, 1, 0), (1, 0, 1))
    assert [(one.label, one.answer, one.count) for one in found.confusions] == [("dog", "cat", 1), ("eel", "cat", 1)]
    cat, dog, eel = found.classes
    assert (cat.train, cat.test, cat.correct, cat.answered) == (3, 1, 1, 3)
    assert (dog.train, dog.test, dog.correct, dog.answered) == (2, 2, 1, 1)
    assert (eel.train, eel.test, eel.correct, eel.answered) == (1, 2, 1, 1)
    assert found.mistakes == ()


def test_calibration_error_is_the_mean_gap_of_the_bins():
    """Guo et al. 2017, equation 3: two answers of 0.58 are half right, 0.78 and 0.9 are right, 0.62 is wrong."""
    found = describe(DATA, ANSWERS, LABELS, None)
    assert [(round(one.low * BINS), one.count, one.accuracy) for one in found.bins] == [
        (8, 2, 0.5),
        (9, 1, 0.0),
        (11, 1, 1.0),
        (13, 1, 1.0),
    ]
    by_hand = (2 * abs(0.5 - 0.58) + abs(0 - 0.62) + abs(1 - 0.78) + abs(1 - 0.9)) / 5
    assert found.calibration_error == pytest.approx(by_hand, abs=1e-6)
    sure = describe(DATA, torch.tensor([[100.0, 0.0, 0.0]]), np.array([0]), None)
    assert (sure.calibration_error, sure.bins[0].high) == (0.0, 1.0)


def test_the_most_confident_mistakes_are_shown():
    pixels = np.stack([np.full((9, 9, 3), 40 * number, np.uint8) for number in range(5)])
    found = describe(DATA, ANSWERS, LABELS, pixels)
    assert [(one.index, one.label, one.answer) for one in found.mistakes] == [(4, "eel", "cat"), (1, "dog", "cat")]
    assert found.mistakes[0].confidence == pytest.approx(0.62)
    image = Image.open(io.BytesIO(base64.b64decode(found.mistakes[0].thumbnail)))
    assert image.size == (quality.THUMBNAIL, quality.THUMBNAIL)
    assert image.getpixel((3, 3)) == pytest.approx((160, 160, 160), abs=2)


def test_many_classes_have_no_matrix():
    count = quality.MOST_CLASSES + 1
    data = Data("many", tuple(f"c{number}" for number in range(count)), Split(np.arange(count)))
    found = describe(data, torch.eye(count).roll(1, 0), np.arange(count), None)
    assert found.confusion == ()
    assert len(found.confusions) == quality.MOST_CONFUSIONS
    assert found.accuracy == 0.0


@pytest.fixture
def store(evolved):
    return Store.open(evolved.directory)


def measure(evolved, store, name):
    return measure_quality(store, evolved._backbone, store.live_path(name), ignore)


def test_a_path_is_measured_once(evolved, store, monkeypatch):
    assert known_quality(store, store.live_path("two")) is None
    found = measure(evolved, store, "two")
    assert found.accuracy == pytest.approx(evolved.task("two").test)
    assert found.images == 24
    assert sum(map(sum, found.confusion)) == 24
    assert len(found.mistakes) == min(8, round(24 * (1 - found.accuracy)))
    monkeypatch.setattr(quality, "evaluate", lambda *_, **__: pytest.fail("it is known"))
    assert measure(evolved, store, "two") == found == known_quality(store, store.live_path("two"))
    shown = {one.task: one for one in gather(store).quality}
    assert shown["two"] == found
    assert all(one.problem for name, one in shown.items() if name != "two")


def test_what_is_kept_and_broken_is_measured_anew(evolved, store):
    found = measure(evolved, store, "one")
    (file,) = (evolved.directory / "cache" / quality.FOLDER).glob("*.json")
    file.write_text("{")
    assert measure(evolved, store, "one") == found


def test_images_that_are_gone_are_said(evolved, store):
    shutil.rmtree(evolved.directory / "cache")
    source = Path(evolved.task("one").source)
    moved = source.rename(source.with_name("elsewhere"))
    try:
        found = measure(evolved, store, "one")
    finally:
        moved.rename(source)
    assert (found.images, found.confusion) == (0, ())
    assert str(source) in found.problem
    assert known_quality(store, store.live_path("one")) is None, "they may come back"


def test_thumbnails_of_private_tasks_are_never_made(evolved, store):
    with store.registry.writing() as session:
        session.connection().exec_driver_sql(
            "UPDATE paths SET is_private = 1 WHERE id = ?", (store.live_path("one").id,)
        )
    found = measure(evolved, store, "one")
    assert found.accuracy < 1.0, "there are mistakes"
    assert found.mistakes == ()


def test_thumbnails_go_before_searches(evolved, store):
    measure(evolved, store, "one")
    report = gather(store)
    assert report.quality[0].mistakes
    bare = len(report.model_copy(update={"quality": ()}).model_dump_json())
    less = fit(report, bare + 2000)
    assert less.quality[0].mistakes == ()
    assert less.quality[0].confusion == report.quality[0].confusion
