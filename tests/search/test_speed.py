from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.agents import make_agent
from mu2net.core.population import Population
from mu2net.core.rng import generator
from mu2net.core.score import Scoring
from mu2net.nn.roots import backbone_from_config
from mu2net.search.executor import LocalExecutor
from mu2net.search.images import load_recorded_task
from mu2net.search.speed import measure_speed
from mu2net.train.events import IntervalDone, TrainingStopped
from mu2net.train.group import TrainConfig


class Watched(LocalExecutor):
    """Trains as ever; says that an interval took a second, a quarter of it to validate, the first one a minute."""

    parallelism = 2
    groups: list

    def submit(self, groups, observer, should_stop):
        type(self).groups = list(groups)

        def tell(event):
            if isinstance(event, IntervalDone):
                event = replace(event, seconds=1.0 if event.interval else 60.0, validation_seconds=0.25)
            observer(event)

        return super().submit(groups, tell, should_stop)


@pytest.fixture
def measure(store):
    def run(should_stop=lambda: "no", **config):
        backbone = backbone_from_config(store.config.backbone)
        anatomy = backbone.anatomy
        agent = make_agent("finetune", anatomy, Scoring(anatomy.num_params, anatomy.flops))
        proposal = agent.propose(Population.start("one", store.root(), ()), generator("x"), 1)[0]
        signs = []
        cost = measure_speed(
            load_recorded_task(store, "one"),
            backbone,
            Watched(store),
            proposal,
            TrainConfig(4, 48, **config),
            on_sign_of_life=lambda: signs.append(1),
            should_stop=should_stop,
        )
        assert signs
        return cost

    return run


def test_the_second_interval_of_a_child_per_worker_counts(measure):
    cost = measure(batch_size=16)
    (group,) = Watched.groups
    assert len(group.jobs) == 2
    assert group.config.examples_per_validation == 16
    assert cost.train * 16 == pytest.approx(0.75)
    assert cost.evaluate * 16 == pytest.approx(0.25)


def test_one_small_batch_is_enough(measure):
    cost = measure(batch_size=48)
    (group,) = Watched.groups
    assert (group.config.batch_size, group.config.examples_per_validation) == (16, 16)
    assert cost.train * 16 == pytest.approx(0.75)
    assert cost.evaluate * 16 == pytest.approx(0.25)


def test_batches_may_be_smaller_than_that(measure):
    cost = measure(batch_size=8)
    assert cost.train * 8 + cost.evaluate * 16 == pytest.approx(1.0)


def test_stopping_is_no_division_by_zero(measure):
    with pytest.raises(TrainingStopped, match="nothing was published"):
        measure(lambda: "interval", batch_size=16)
    with pytest.raises(TrainingStopped):
        measure(lambda: "now", batch_size=16)
