from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.outlook import Outlook


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
