from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.agents import make_agent
from mu2net.core.agents.base import PASSES, Stage, Trained
from mu2net.core.agents.tuned import TRIAL_RATES
from mu2net.core.population import Population
from mu2net.core.rng import generator
from mu2net.core.space import LEARNING_RATES
from mu2net.errors import ConfigError


def advance(build, agent, population, anatomy, qualities):
    """Return the proposals of the next generation, and the population after it with these qualities."""
    n = agent.stage(population).children
    proposals = agent.propose(population, generator(0), n)
    trained = [
        Trained(
            proposal,
            build.path(
                anatomy,
                f"a/0/{population.generation}/{number}",
                quality=quality,
                hparams=proposal.hparams,
                agent=agent.name,
            ),
        )
        for number, (proposal, quality) in enumerate(zip(proposals, qualities, strict=True))
    ]
    return proposals, agent.observe(population, trained)


@pytest.fixture
def population(build, vit):
    return Population("a", build.root(vit))


@pytest.fixture
def tuned(build, vit):
    return lambda of, **changes: make_agent(f"tuned:{of}", vit, build.scoring(vit), changes)


@pytest.mark.parametrize("of", ["finetune", "freeze:2", "adapters:16"])
def test_the_long_run_has_the_best_rate_of_the_trials(build, vit, population, tuned, of):
    agent = tuned(of)
    assert agent.name == f"tuned:{of}"
    trials, after = advance(build, agent, population, vit, [0.3, 0.5, 0.4, 0.1])
    assert [trial.hparams["opt_lr"] for trial in trials] == list(TRIAL_RATES)
    assert agent.stage(population).share < 0.5
    (run,), end = advance(build, agent, after, vit, [0.2])
    assert run.hparams["opt_lr"] == TRIAL_RATES[1]
    assert run.parent_id == "root"
    assert run.slots == trials[0].slots
    assert agent.stage(after) == Stage(1, 1.0, agent.stage(after).validations, passes=PASSES)
    assert agent.stage(population).passes == PASSES
    assert agent.stage(end) == Stage(0)
    assert agent.best(end).quality == 0.5


def test_of_equal_trials_the_smaller_rate_wins(build, vit, population, tuned):
    agent = tuned("finetune")
    _, after = advance(build, agent, population, vit, [0.5, 0.5, 0.4, 0.1])
    (run,), _ = advance(build, agent, after, vit, [0.2])
    assert run.hparams["opt_lr"] == TRIAL_RATES[0]


def test_of_equally_accurate_trials_the_lowest_loss_wins(build, vit, population, tuned):
    """Short trials of many classes end where they started, as accuracies say; losses say more."""
    agent = tuned("finetune")
    _, after = advance(build, agent, population, vit, [0.1, 0.1, 0.05, 0.05])
    losses = zip(after.own, (4.6, 4.2, 1.0, 1.0), strict=True)
    own = tuple(path.with_metrics(extra={"train_loss": [9.0, loss]}) for path, loss in losses)
    (run,) = agent.propose(replace(after, own=own), generator(0), 1)
    assert run.hparams["opt_lr"] == TRIAL_RATES[1]


def test_a_linear_probe_trains_all_rates_to_the_end(build, vit, population, tuned):
    agent = tuned("linear")
    runs, end = advance(build, agent, population, vit, [0.1] * len(LEARNING_RATES))
    assert agent.stage(population).share == 1.0
    assert [run.hparams["opt_lr"] for run in runs] == list(LEARNING_RATES)
    assert agent.stage(population).passes == PASSES
    assert agent.stage(end) == Stage(0)


def test_a_rate_that_the_user_fixed_is_the_only_one(build, vit, population):
    agent = make_agent("tuned:finetune", vit, build.scoring(vit), {"opt_lr": 0.05}, ("opt_lr",))
    (run,), end = advance(build, agent, population, vit, [0.2])
    assert run.hparams["opt_lr"] == 0.05
    assert agent.stage(population).share == 1.0
    assert agent.stage(end) == Stage(0)


def test_the_change_of_the_rate_is_recorded(build, vit, population, tuned):
    trials, _ = advance(build, tuned("finetune", opt_lr=0.1), population, vit, [0.1] * 4)
    changes = [[(m.before, m.after) for m in trial.mutations if m.name == "hp:opt_lr"] for trial in trials]
    assert changes == [[(0.1, 0.005)], [(0.1, 0.02)], [], [(0.1, 0.5)]]


@pytest.mark.parametrize("of", ["mu2net", "", "tuned:linear", "nothing"])
def test_only_baselines_can_be_tuned(build, vit, of):
    with pytest.raises(ConfigError, match="tunes no baseline"):
        make_agent(f"tuned:{of}", vit, build.scoring(vit))


@pytest.mark.parametrize("arguments", [(1, 0.0), (1, 1.5), (-1, 1.0), (1, 1.0, 0)])
def test_a_stage_checks_its_numbers(arguments):
    with pytest.raises(ValueError, match=r"share|children"):
        Stage(*arguments)


def test_it_has_the_space_of_its_baseline_and_needs_one(build, vit):
    tuned = make_agent("tuned:freeze:1", vit, build.scoring(vit))
    assert list(tuned.own_space) == list(make_agent("freeze:1", vit, build.scoring(vit)).own_space)
    with pytest.raises(TypeError, match="needs a baseline"):
        _ = replace(tuned, baseline=None).name
