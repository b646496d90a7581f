from __future__ import annotations

import pytest

from mu2net.core.agents import AGENTS, make_agent
from mu2net.errors import ConfigError, RangeError, UnknownNameError


@pytest.mark.parametrize("kind", AGENTS)
def test_every_listed_agent_can_be_made_and_knows_its_name(build, vit, kind):
    name = kind.replace(":K", ":2").replace(":D", ":16").replace(":BASELINE", ":freeze:2")
    agent = make_agent(name, vit, build.scoring(vit))
    assert agent.name == name
    assert agent.is_baseline == (kind not in ("munet", "mu2net", "mu2net-plus", "budgeted"))
    assert agent.scoring == build.scoring(vit)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mu2nt", "unknown agent 'mu2nt'; did you mean 'mu2net'"),
        ("mu2net:3", "unknown agent 'mu2net:3'; did you mean 'mu2net'"),
        ("finetune:3", "did you mean 'finetune'"),
        ("", "unknown agent ''; known: adapters:D, "),
    ],
)
def test_an_unknown_agent_is_an_error_with_the_closest_match(build, vit, name, message):
    with pytest.raises(UnknownNameError, match=message):
        make_agent(name, vit, build.scoring(vit))


@pytest.mark.parametrize("name", ["freeze", "freeze:", "freeze:K", "freeze:-1", "adapters", "adapters:1.5"])
def test_a_missing_number_is_an_error(build, vit, name):
    with pytest.raises(ConfigError, match=f"agent '{name}' needs a number"):
        make_agent(name, vit, build.scoring(vit))


@pytest.mark.parametrize("name", ["munet", "mu2net", "mu2net-plus", "linear", "adapters:8", "freeze:1"])
def test_other_starting_values(build, vit, name):
    assert make_agent(name, vit, build.scoring(vit), {"opt_lr": 0.05}).space.defaults()["opt_lr"] == 0.05
    with pytest.raises(RangeError, match=r"'opt_lr' is 0\.3"):
        make_agent(name, vit, build.scoring(vit), {"opt_lr": 0.3})
    with pytest.raises(UnknownNameError, match="did you mean 'opt_lr'"):
        make_agent(name, vit, build.scoring(vit), {"opt_l": 0.3})


def test_what_starts_the_fixed_mutation_probability_of_munet_is_not_a_hyperparameter(build, vit):
    with pytest.raises(UnknownNameError, match="unknown hyperparameter 'mu'"):
        make_agent("munet", vit, build.scoring(vit), {"mu": 0.1})
