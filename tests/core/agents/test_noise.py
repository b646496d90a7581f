from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from mu2net.core.agents.noise import PROBED_IMAGES, standard_error


@pytest.fixture
def measured(build):
    def make(quality: float, **extra: float):
        return build.path(build.vit(), "a/0/0/0", quality=quality).with_metrics(extra=extra)

    return make


@pytest.mark.parametrize(("quality", "validated"), [(0.5, 400), (0.8, 1000), (0.95, 2000)])
def test_it_is_what_draws_of_as_many_images_scatter_by(measured, quality, validated):
    draws = np.random.default_rng(0).binomial(validated, quality, size=100_000) / validated
    assert standard_error(measured(quality, validated=validated)) == pytest.approx(draws.std(), rel=0.02)


@pytest.mark.parametrize("quality", [0.0, 1.0])
@pytest.mark.parametrize("validated", [1, 20, 1000])
def test_neither_all_right_nor_all_wrong_is_certain(measured, quality, validated):
    half_an_answer = 0.5 / (validated + 1)
    expected = sqrt(half_an_answer * (1 - half_an_answer) / (validated + 1))
    assert 0 < standard_error(measured(quality, validated=validated)) == pytest.approx(expected)


def test_more_images_leave_less_to_luck(measured):
    errors = [standard_error(measured(0.7, validated=number)) for number in (10, 100, 1000, 10_000)]
    assert errors == sorted(errors, reverse=True)
    assert max(errors) <= 0.5


def test_a_path_that_does_not_say_was_validated_on_the_images_that_tell_trunks_apart(measured):
    expected = standard_error(measured(0.7, validated=PROBED_IMAGES))
    assert standard_error(measured(0.7)) == expected
    unmeasured = replace(measured(0.7), metrics=None)
    assert standard_error(unmeasured) == standard_error(measured(0.0, validated=PROBED_IMAGES))
