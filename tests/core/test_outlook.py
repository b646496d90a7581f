from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.outlook import Outlook, num_images


def test_the_frozen_part_is_paid_for_once_per_image():
    """Of 300 passes, 100 images take 75 each way below and 25 for a step; 200 passes are left for 800 steps of 0.25."""
    outlook = Outlook(passes=300.0, num_train=100)
    assert outlook.examples(below=0.75, step=0.25) == pytest.approx(100 + 800)
    assert outlook.examples(below=0.75, step=0.25, share=0.1) == pytest.approx(30)


@given(st.floats(0.0, 1e6), st.integers(1, 10**6), st.floats(0.0, 1.0), st.floats(0.01, 3.0))
def test_cheaper_is_never_less(passes, count, below, step):
    outlook = Outlook(passes, count)
    examples = outlook.examples(below, step)
    assert examples >= 0
    assert outlook.examples(below / 2, step) >= examples
    assert outlook.examples(below, step / 2) >= examples
    assert Outlook(2 * passes, count).examples(below, step) >= examples


def test_a_step_costs_something():
    with pytest.raises(ValueError, match=r"a training step costs 0\.0 passes"):
        Outlook(1.0, 1).examples(0.5, 0.0)


def test_fewer_images_come_more_often_where_new_ones_are_dear():
    """Of 300 passes, 6 x 0.25 + 0.75 are spent on an image that comes six times: 133 images."""
    assert Outlook(300.0, 200).examples(below=0.75, step=0.25, passes=6) == pytest.approx(6 * 300 / 2.25)
    assert Outlook(300.0, 133).examples(below=0.75, step=0.25, passes=6) == pytest.approx(133 + (300 - 133) / 0.25)


def test_all_images_count_where_few_could_come_often_or_new_ones_are_hardly_dearer():
    """Six passes would show 120 of 300 images, or 105."""
    assert Outlook(300.0, 300).examples(below=0.7, step=0.3, passes=6) == pytest.approx(300)
    assert Outlook(300.0, 150).examples(below=0.45, step=0.4, passes=6) == pytest.approx(150 + (300 - 127.5) / 0.4)


@pytest.mark.parametrize(
    ("once", "often", "dearness", "everything", "seen"),
    [
        (900, 500, 4.0, 400, 400),
        (900, 500, 4.0, 800, 500),
        (900, 500, 2.9, 800, 800),  # new images are hardly dearer
        (900, 300, 4.0, 800, 400),  # no fewer than half of them all
        (900, 300, 4.0, 5000, 450),  # or of what one pass could show
    ],
)
def test_how_many_images_a_child_sees(once, often, dearness, everything, seen):
    assert num_images(once, often, dearness, everything) == seen
