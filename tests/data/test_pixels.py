from __future__ import annotations

import shutil

import numpy as np
import pytest

from mu2net.data import cache, pixels
from mu2net.data.decode import decode_rgb, squeeze
from mu2net.data.load import load_task
from mu2net.data.pixels import DecodedPixels, MappedPixels
from mu2net.data.source import TaskSource
from mu2net.errors import ConfigError, ImageError


@pytest.fixture
def source(tmp_path, class_folders):
    return TaskSource(name="x", source=str(class_folders(tmp_path / "in", {"a": 30, "b": 25})))


def test_mapped_and_decoded_give_equal_bytes(tmp_path, source):
    mapped = load_task(source, tmp_path / "c1").train.pixels(7)
    decoded = load_task(source, tmp_path / "c2", memory_limit=0).train.pixels(7)
    assert isinstance(mapped, MappedPixels)
    assert isinstance(decoded, DecodedPixels)
    assert not (tmp_path / "c2" / "images").exists()
    order = np.array([3, 0, 40, 3, len(mapped) - 1])
    assert np.array_equal(mapped[order], decoded[order])
    assert np.array_equal(mapped[np.arange(len(mapped))], decoded[np.arange(len(decoded))])
    assert mapped.side == decoded.side == 7
    assert mapped[order].flags.writeable
    assert mapped[np.array([], np.int64)].shape == decoded[np.array([], np.int64)].shape == (0, 7, 7, 3)


def test_the_pixels_are_the_squeezed_originals(tmp_path, source):
    task = load_task(source, tmp_path / "cache")
    files = sorted((tmp_path / "in").rglob("*.png"))
    found = task.train.pixels(5)[np.arange(2)]
    everything = [squeeze(decode_rgb(path, "x"), 5) for path in files]
    rows = task.train._index.rows  # type: ignore[attr-defined]
    assert np.array_equal(found, np.stack(everything)[rows[:2]])


def test_the_limit_counts_all_splits_of_the_task(tmp_path, source):
    size = 55 * 4 * 4 * 3
    assert isinstance(load_task(source, tmp_path / "c", memory_limit=size).test.pixels(4), MappedPixels)
    assert isinstance(load_task(source, tmp_path / "c", memory_limit=size - 1).test.pixels(4), DecodedPixels)
    assert isinstance(load_task(source, tmp_path / "c", memory_limit=size).test.pixels(5), DecodedPixels)


def test_a_second_look_uses_the_file_and_survives_its_loss(tmp_path, source, monkeypatch):
    first = load_task(source, tmp_path / "c").train.pixels(6)[np.arange(40)]
    with monkeypatch.context() as patch:
        patch.setattr(pixels, "decode_rgb", None)
        assert np.array_equal(load_task(source, tmp_path / "c").train.pixels(6)[np.arange(40)], first)
    shutil.rmtree(tmp_path / "c" / "images")
    task = load_task(source, tmp_path / "c")
    assert np.array_equal(task.train.pixels(6)[np.arange(40)], first)
    shutil.rmtree(tmp_path / "c")
    assert np.array_equal(task.train.pixels(6)[np.arange(40)], first)
    assert np.array_equal(task.train.pixels(6)[np.arange(40)], first)


def test_a_damaged_file_is_built_again(tmp_path, source):
    first = load_task(source, tmp_path / "c").train.pixels(6)[np.arange(40)]
    for path in (tmp_path / "c" / "images").iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 255
        path.write_bytes(content)
    assert np.array_equal(load_task(source, tmp_path / "c").train.pixels(6)[np.arange(40)], first)


@pytest.mark.parametrize("trouble", ["full", "unwritable"])
def test_no_room_on_the_disk_means_decoding_on_the_fly(tmp_path, source, monkeypatch, caplog, trouble):
    expected = load_task(source, tmp_path / "other").train.pixels(6)[np.arange(40)]

    def fail(*args):
        raise OSError(28, "No space left on device")

    task = load_task(source, tmp_path / "c")
    if trouble == "full":
        monkeypatch.setattr(pixels, "fits_on_disk", lambda *_: False)
    else:
        monkeypatch.setattr(cache, "write_atomically", fail)
    found = task.train.pixels(6)
    assert isinstance(found, DecodedPixels)
    assert np.array_equal(found[np.arange(40)], expected)
    assert "decoding on the fly" in caplog.text


def test_progress_while_filling(tmp_path, source):
    seen = []
    task = load_task(source, tmp_path / "c", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (55, 55)
    seen.clear()
    task.train.pixels(4)
    assert seen[-1] == (len(task.train), len(task.train))


@pytest.mark.parametrize("limit", [0, None])
def test_an_image_that_changed_after_loading_is_named(tmp_path, source, picture, limit):
    task = load_task(source, tmp_path / "c", memory_limit=limit)
    picture(99).save(tmp_path / "in" / "a" / "000.png")
    rows = task.train._index.rows.tolist()  # type: ignore[attr-defined]
    split = task.train if 0 in rows else task.test
    with pytest.raises(ImageError, match=r"000\.png.* has changed since the task was read"):
        split.pixels(4)[np.arange(len(split))]
    (tmp_path / "in" / "a" / "000.png").unlink()
    with pytest.raises(ImageError, match=r"000\.png.* does not exist"):
        split.pixels(4)[np.arange(len(split))]


def test_split_facts(tmp_path, picture):
    for name, size in (("a", (20, 10)), ("b", (6, 12))):
        (tmp_path / name).mkdir()
        for seed in range(5):
            picture(seed + ord(name), size).save(tmp_path / name / f"{seed}.png")
    task = load_task(TaskSource(name="x", source=str(tmp_path)), tmp_path.parent / f"{tmp_path.name}-cache")
    assert task.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert task.train.aspects.tolist() == [2.0] * 3 + [0.5] * 3
    assert task.train.aspects.dtype == np.float32
    assert task.train.native_side() == 20
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        task.train.pixels(0)
