from __future__ import annotations

import json

import pytest

from mu2net.errors import ConfigError
from mu2net.search.config import SearchConfig


@pytest.mark.parametrize(
    "name", ["generation_size", "batch_size", "num_validations", "examples_per_validation", "threads"]
)
def test_numbers_are_positive(name):
    with pytest.raises(ConfigError, match=f"{name.replace('_', '-')} is 0; expected at least 1"):
        SearchConfig(**{name: 0})


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_cannot_be_stored_is_an_error(seed):
    with pytest.raises(ConfigError, match=f"seed is {seed}"):
        SearchConfig(seed=seed)


def test_it_survives_json():
    config = SearchConfig("munet", 3, 0.9, hparams={"opt_lr": 0.1, "ds_crop": False}, examples_per_validation=100)
    assert SearchConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_differences_are_named():
    config = SearchConfig()
    assert config.differences(SearchConfig()) == []
    assert config.differences(SearchConfig("munet", hparams={"opt_lr": 0.1})) == ["agent", "hparams"]
