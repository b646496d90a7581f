from __future__ import annotations

import pytest

from mu2net.core.path import Metrics, Path


@pytest.fixture
def path(build, vit) -> Path:
    return build.path(vit, "pets/0/0/0", adapters={0, 3}, quality=0.75)


def test_chain_and_digests_follow_the_order_of_computation(path, vit):
    assert [name for name, _ in path.chain] == [slot.name for slot in vit.slots(4, {0, 3})]
    assert tuple(digest for _, digest in path.chain) == path.digests


def test_parameters_are_the_sum_of_the_components(path):
    assert path.num_params == 30 + 20 + 4 * 100 + 2 * 7 + 4 + 10


def test_adapters_are_read_from_the_slots(path, root):
    assert path.adapters == {0, 3}
    assert root.adapters == frozenset()


def test_component_by_slot(path):
    assert path.component("norm").slot.name == "norm"
    assert path.component("adapter_01") is None


def test_quality_is_zero_before_training(path, root):
    assert path.quality == 0.75
    assert root.quality == 0.0


def test_metrics_can_be_replaced_one_by_one(path):
    tested = path.with_metrics(test=0.5)
    assert tested.metrics == Metrics(0.75, 1000, test=0.5)
    assert path.metrics.test is None
    assert tested.components == path.components


def test_metrics_of_an_unmeasured_path_are_an_error(root):
    with pytest.raises(ValueError, match="path 'root' has no metrics yet"):
        root.with_metrics(test=0.5)
