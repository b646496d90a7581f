import pytest

from mu2net.errors import ConfigError
from mu2net.train.batches import Views
from mu2net.train.group import TrainConfig


def test_groups_that_cannot_share_batches_are_errors(group, job):
    with pytest.raises(ConfigError, match="different image pipelines"):
        group(job("a"), job("b", ds_image_size=12))
    with pytest.raises(ConfigError, match="need different ids"):
        group(job("a"), job("a"))
    with pytest.raises(ConfigError, match="has no children"):
        group()


@pytest.mark.parametrize("name", ["num_validations", "examples_per_validation", "batch_size", "threads"])
def test_budgets_below_one_are_errors(name):
    values = {"num_validations": 1, "examples_per_validation": 1, name: 0}
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        TrainConfig(**values)


def test_a_negative_number_of_views_is_an_error():
    with pytest.raises(ConfigError, match="views is -1; expected 0, for none, or more"):
        TrainConfig(1, 1, views=-1)


def test_views_are_those_of_the_task_in_every_generation(group, job):
    config = TrainConfig(1, 8, views=3)
    assert group(job("a"), config=config).views == Views(3, (0, "quadrants", "views"))
    assert group(job("a")).views is None
