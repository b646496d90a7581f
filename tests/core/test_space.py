from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.rng import generator
from mu2net.core.space import MU, RATE, Range, Space, mu2net_plus_space, mu2net_space, munet_space, with_regularization
from mu2net.errors import RangeError, UnknownNameError

VALUES = st.lists(st.one_of(st.integers(-50, 50), st.text("abc", max_size=3)), min_size=1, max_size=8, unique=True)
LR = Range("opt_lr", (0.1, 0.2, 0.5), 0.2)
SPACE = Space((LR, Range("opt_nesterov", (True, False), False)))


@given(VALUES, st.data())
def test_a_mutation_moves_one_step_and_clamps_at_the_ends(values, data):
    position = data.draw(st.integers(0, len(values) - 1))
    known = Range("x", tuple(values), values[0])
    after = known.step(values[position], generator(data.draw(st.integers(0, 9))))
    last = len(values) - 1
    assert known.index(after) in {max(position - 1, 0), min(position + 1, last)}


def test_a_mutation_goes_up_or_down_equally_often_and_half_of_them_change_nothing_at_an_end():
    rng = generator("steps")
    known = Range("x", (1, 2, 3), 2)
    middle = [known.step(2, rng) for _ in range(2000)]
    end = [known.step(3, rng) for _ in range(2000)]
    five_sigma = 5 * (2000 * 0.25) ** 0.5
    assert set(middle) == {1, 3}
    assert abs(middle.count(3) - 1000) < five_sigma
    assert set(end) == {2, 3}
    assert abs(end.count(3) - 1000) < five_sigma


@pytest.mark.parametrize("value", [0.3, "0.2", True, float("nan"), None])
def test_a_value_that_is_not_in_its_list_is_an_error(value):
    for use in (LR.index, lambda unknown: LR.step(unknown, generator(0))):
        with pytest.raises(RangeError, match=r"hyperparameter 'opt_lr' is .*; expected one of: 0.1, 0.2, 0.5"):
            use(value)


def test_truth_values_and_numbers_are_told_apart():
    flags, numbers = Range("flag", (True, False), False), Range("number", (0, 1), 0)
    assert (flags.index(True), flags.index(False), numbers.index(1)) == (0, 1, 1)
    with pytest.raises(RangeError):
        flags.index(1)
    with pytest.raises(RangeError):
        numbers.index(True)


def test_a_default_outside_the_list_is_an_error():
    with pytest.raises(RangeError, match="'x' is 4; expected one of: 1, 2"):
        Range("x", (1, 2), 4)


@pytest.mark.parametrize(
    ("known", "value", "nearest"),
    [
        (LR, 0.2, 0.2),
        (LR, 0.45, 0.5),
        (LR, 9, 0.5),
        (LR, "cosine", 0.2),
        (LR, True, 0.2),
        (Range("schedule", ("constant", "cosine"), "cosine"), "linear", "cosine"),
        (Range("schedule", ("constant", "cosine"), "cosine"), 1.0, "cosine"),
        (Range("flag", (True, False), False), 1, False),
    ],
)
def test_the_nearest_value_of_another_agents(known, value, nearest):
    assert known.nearest(value) is nearest or known.nearest(value) == nearest


def test_a_space_is_a_mapping_in_order():
    assert list(SPACE) == ["opt_lr", "opt_nesterov"]
    assert len(SPACE) == 2
    assert SPACE["opt_lr"] is LR
    assert "mu" not in SPACE
    with pytest.raises(KeyError):
        SPACE["mu"]
    assert SPACE.defaults() == {"opt_lr": 0.2, "opt_nesterov": False}


def test_validation_orders_and_refuses():
    assert list(SPACE.validate({"opt_nesterov": True, "opt_lr": 0.5})) == ["opt_lr", "opt_nesterov"]
    with pytest.raises(UnknownNameError, match="unknown hyperparameter 'opt_l'; did you mean 'opt_lr'"):
        SPACE.validate({"opt_l": 0.5, "opt_nesterov": True})
    with pytest.raises(RangeError, match="'opt_nesterov' has no value"):
        SPACE.validate({"opt_lr": 0.5})
    with pytest.raises(RangeError, match=r"'opt_lr' is 0.4"):
        SPACE.validate({"opt_lr": 0.4, "opt_nesterov": True})


def test_inheritance_drops_fills_and_fits():
    assert SPACE.inherit({"opt_lr": 0.9, "mu": 0.1}) == {"opt_lr": 0.5, "opt_nesterov": False}


def test_values_of_the_same_space_are_inherited_unchanged(vit):
    rng = generator("inherit")
    for space in (munet_space(vit), mu2net_space(vit), mu2net_plus_space(vit)):
        for _ in range(50):
            values = {name: known.values[rng.integers(len(known.values))] for name, known in space.items()}
            assert space.inherit(values) == space.validate(values) == values


def test_other_starting_values():
    assert SPACE.with_defaults({"opt_lr": 0.1}).defaults() == {"opt_lr": 0.1, "opt_nesterov": False}
    assert SPACE.defaults()["opt_lr"] == 0.2
    with pytest.raises(RangeError):
        SPACE.with_defaults({"opt_lr": 0.3})
    with pytest.raises(UnknownNameError):
        SPACE.with_defaults({"mu": 0.3})


OPTIMIZER = {
    "opt_lr_schedule": (("constant", "cosine", "restarts"), "cosine"),
    "opt_lr_warmup_ratio": ((0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4), 0.05),
    "opt_momentum": ((0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99), 0.9),
    "opt_nesterov": ((True, False), False),
    "num_layers": ((1, 2, 3, 4), 4),
    "adapter_dim": ((8, 16, 32, 64, 128), 32),
}
LEARNING_RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
DELTAS = {
    f"ds_{name}_delta": ((0, 0.01, 0.02, 0.05, 0.1, 0.2), 0) for name in ("brightness", "contrast", "saturation", "hue")
}


def images(area: float, aspect: float, flip: bool) -> dict:
    return {
        "ds_image_size": ((16, 24, 32, 40, 48, 64), 32),
        "ds_crop": ((True, False), True),
        "ds_area_range_min": ((0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0), area),
        "ds_aspect_ratio_range_min": ((0.25, 0.5, 0.75, 1.0), aspect),
        "ds_flip_left_right": ((True, False), flip),
        **DELTAS,
    }


def table(space: Space) -> dict:
    return {name: (known.values, known.default) for name, known in space.items()}


def test_munet_table(vit):
    lists = {"opt_lr": (LEARNING_RATES[:10], 0.01), **OPTIMIZER, **images(0.05, 0.75, True)}
    assert lists["opt_lr"][0][-1] == 0.1
    assert table(munet_space(vit)) == lists


def test_mu2net_table_begins_with_mu(vit):
    mu = (0.10, 0.12, 0.14, 0.16, 0.18, 0.20, 0.22, 0.24, 0.26, 0.28, 0.30)
    lists = {"mu": (mu, 0.2), "opt_lr": (LEARNING_RATES, 0.01), **OPTIMIZER, **images(0.05, 0.75, True)}
    assert table(mu2net_space(vit)) == lists
    assert next(iter(mu2net_space(vit))) == MU.name == "mu"


def test_mu2net_plus_table_has_no_mu_and_augmentation_is_off(vit):
    assert table(mu2net_plus_space(vit)) == {"opt_lr": (LEARNING_RATES, 0.01), **OPTIMIZER, **images(1.0, 1.0, False)}
    assert RATE.values == tuple(i / 50 for i in range(1, 16))
    assert RATE.default == 0.2


def test_a_backbone_without_adapters_has_no_adapter_size(lite):
    for space in (munet_space(lite), mu2net_space(lite), mu2net_plus_space(lite)):
        assert "adapter_dim" not in space
        assert space["num_layers"].values == (5,)


def test_regularization_is_off_at_first_and_of_patches_only_where_there_are_some(vit, lite):
    off = {"opt_averaging": 0.0, "opt_mix_rate": 0.0}
    added = with_regularization(mu2net_space(vit), vit)
    assert added.defaults() == {**mu2net_space(vit).defaults(), **off, "patch_drop_rate": 0.0}
    assert added["patch_drop_rate"].values == (0.0, 0.25, 0.5, 0.75)
    assert added["opt_mix_rate"].values == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert added["opt_averaging"].values == (0.0, 0.05, 0.1, 0.2, 0.5)
    assert with_regularization(mu2net_space(lite), lite).defaults() == {**mu2net_space(lite).defaults(), **off}


def test_a_fixed_hyperparameter_keeps_its_starting_value_whatever_the_parent_has() -> None:
    fixed = SPACE.with_defaults({"opt_lr": 0.1}).fixing(["opt_lr"])
    assert fixed.inherit({"opt_lr": 0.01}) == {"opt_lr": 0.1, "opt_nesterov": False}
    assert all(fixed["opt_lr"].step(0.1, generator("fixed", seed)) == 0.1 for seed in range(20))
    with pytest.raises(UnknownNameError, match="opt_lr"):
        SPACE.fixing(["opt_ir"])
