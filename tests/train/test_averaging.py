from __future__ import annotations

import pytest
import torch

from mu2net.errors import ConfigError
from mu2net.train.augment import Pipeline
from mu2net.train.averaging import EVERY, WeightAverage
from mu2net.train.batches import SplitReader, TrainBatches
from mu2net.train.child import ModuleFactory
from mu2net.train.compute import Compute
from mu2net.train.group import TrainConfig
from mu2net.train.learner import Turn
from mu2net.train.session import train_group
from mu2net.train.team import HeadLearner, make_children

CPU = torch.device("cpu")


def walk(age, number):
    """Average a parameter that is 1, 2, 3, … whenever it is added."""
    parameter = torch.zeros(1)
    average = WeightAverage([parameter], age)
    for step in range(number * EVERY):
        parameter.fill_(step // EVERY + 1)
        average.update()
    return parameter, average


@pytest.mark.parametrize("age", [0.05, 0.1, 0.2, 0.5])
def test_the_averaged_weights_have_the_mean_age_that_was_asked_for(age):
    parameter, average = walk(age, 400)
    with average.applied():
        assert float(parameter) == pytest.approx(400 * (1 - age), abs=1.0)
    assert float(parameter) == 400


def test_half_is_the_plain_mean():
    parameter, average = walk(0.5, 7)
    with average.applied():
        assert float(parameter) == pytest.approx(4.0)


def test_nothing_is_exchanged_before_the_first_addition_and_after_a_reset():
    parameter = torch.zeros(1)
    average = WeightAverage([parameter], 0.1)
    for _ in range(EVERY - 1):
        parameter += 1
        average.update()
    with average.applied():
        assert float(parameter) == EVERY - 1
    average.update()
    parameter.fill_(9)
    with average.applied():
        assert float(parameter) == EVERY - 1
    average.reset()
    with average.applied():
        assert float(parameter) == 9


def test_the_parameters_come_back_where_the_context_ends_with_an_error():
    parameter, average = walk(0.1, 3)
    with pytest.raises(ZeroDivisionError), average.applied():
        1 / 0  # noqa: B018
    assert float(parameter) == 3


@pytest.mark.parametrize("age", [0.0, -0.1, 0.6, float("nan")])
def test_an_age_that_is_no_share_is_refused(age):
    with pytest.raises(ConfigError, match=r"opt_averaging is .*; expected a share of the steps"):
        WeightAverage([torch.zeros(1)], age)


@pytest.fixture
def stepped(vit, source, job, split):
    """Take steps, of which those in ``measured`` are undone as measurements of the pace are."""
    reader = SplitReader("train", split(24, 0), Pipeline(8), Compute.of(vit, CPU, "float32"))

    def step(steps, measured=0, clones=("block_01", "norm"), **changes):
        jobs = [job("a", *clones, **changes)]
        (one,) = make_children(jobs, ModuleFactory(vit, source, CPU, (0,)), {"train": reader})
        batch = TrainBatches(reader, 8, (0,)).batch(0)
        entering, before = one.prefix.run(batch), one.learner.state(0)
        for number in range(measured):
            one.learner.step([Turn(0, entering, 0.1, ("measure", number))], batch.labels)
        if measured:
            one.learner.restore(0, before)
        states = []
        for number in range(steps):
            one.learner.step([Turn(0, entering, 0.1, ("step", number))], batch.labels)
            states.append(one.learner.state(0).tensors["block_01" if "block_01" in clones else "head"])
        return one, states

    return step


def test_a_child_is_the_average_of_what_it_would_have_been(stepped):
    _, plain = stepped(3 * EVERY)
    _, averaged = stepped(3 * EVERY, opt_averaging=0.5)
    for name, value in averaged[-1].items():
        mean = torch.stack([plain[number * EVERY - 1][name] for number in (1, 2, 3)]).mean(0)
        assert torch.allclose(value, mean, atol=1e-6), name
    assert all(torch.equal(averaged[0][name], plain[0][name]) for name in plain[0]), "no average yet"


def test_what_a_measurement_did_is_not_averaged(stepped):
    _, undisturbed = stepped(2 * EVERY, opt_averaging=0.1)
    _, measured = stepped(2 * EVERY, measured=2 * EVERY + 1, opt_averaging=0.1)
    assert all(torch.equal(undisturbed[-1][name], measured[-1][name]) for name in undisturbed[-1])


def test_heads_are_averaged_too_and_are_then_trained_alone(stepped):
    stacked, plain = stepped(3 * EVERY, clones=("norm",))
    alone, averaged = stepped(3 * EVERY, clones=("norm",), opt_averaging=0.5)
    assert isinstance(stacked.learner, HeadLearner)
    assert not isinstance(alone.learner, HeadLearner)
    mean = torch.stack([plain[number * EVERY - 1]["weight"] for number in (1, 2, 3)]).mean(0)
    assert torch.allclose(averaged[-1]["weight"], mean, atol=1e-5)


def test_validations_leave_the_training_as_it_is(group, source, job):
    """They measure the average; the steps after them go on from the weights themselves."""
    config = TrainConfig(2, 32, batch_size=2, evaluation_batch_size=8)

    def trained(**changes):
        (made,) = train_group(group(job("a", "block_01", "norm", **changes), config=config), source)
        return made

    one, again, plain = trained(opt_averaging=0.5), trained(opt_averaging=0.5), trained()
    weights = [made.tensors["block_01"]["mlp.fc1.weight"] for made in (one, again, plain)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert one.metrics.validations == again.metrics.validations
    assert one.metrics.extra["train_loss"] == plain.metrics.extra["train_loss"], "the same steps were taken"
