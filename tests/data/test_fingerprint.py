from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from mu2net.data.fingerprint import (
    digest_groups,
    digest_keys,
    image_digest,
    split_fingerprint,
    task_fingerprint,
)


def digests(*images: Image.Image) -> np.ndarray:
    return np.stack([np.frombuffer(image_digest(image), np.uint8) for image in images])


def test_a_digest_covers_size_and_content(picture):
    image = picture(0, (4, 3))
    expected = hashlib.sha256((4).to_bytes(8, "little") + (3).to_bytes(8, "little") + image.tobytes()).digest()
    assert image_digest(image) == expected
    assert image_digest(Image.new("RGB", (2, 3))) != image_digest(Image.new("RGB", (3, 2)))


def test_a_fingerprint_covers_content_labels_order_classes_and_splits(picture):
    two = digests(picture(0), picture(1))
    base = split_fingerprint(two, np.array([0, 1]))
    assert base == split_fingerprint(two.copy(), np.array([0, 1], np.int64))
    others = {
        split_fingerprint(two, np.array([1, 0])),
        split_fingerprint(two[::-1], np.array([0, 1])),
        split_fingerprint(two[:1], np.array([0])),
        split_fingerprint(digests(picture(0), picture(2)), np.array([0, 1])),
    }
    assert base not in others
    assert len(others) == 4
    tasks = {
        task_fingerprint(("a", "b"), (base, base, base)),
        task_fingerprint(("b", "a"), (base, base, base)),
        task_fingerprint(("a", "b"), (base, base, "0" * 64)),
        task_fingerprint(("a", "b"), (base, "0" * 64, base)),
    }
    assert len(tasks) == 4


def test_equal_pictures_are_one_group_and_have_one_key(picture):
    found = digests(picture(0), picture(1), picture(0), picture(2), picture(1))
    groups, keys = digest_groups(found), digest_keys(found)
    assert groups[0] == groups[2] != groups[1] == groups[4] != groups[3]
    assert keys[0] == keys[2] == int.from_bytes(found[0, :8].tobytes(), "big")
