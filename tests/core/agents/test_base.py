from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mu2net.core.agents import make_agent
from mu2net.core.agents.base import BaseAgent, Trained
from mu2net.core.path import Metrics
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal
from mu2net.core.rng import generator

EVOLVING = ["munet", "mu2net", "mu2net-plus"]


@pytest.fixture
def agent(build, vit):
    def make(name: str = "mu2net", **scoring: float):
        return make_agent(name, vit, build.scoring(vit, **scoring))

    return make


@dataclass(frozen=True)
class Nameless(BaseAgent):
    """An agent that forgot to say what it does."""


def test_what_an_agent_must_define(build, vit, root):
    nameless = Nameless(vit, build.scoring(vit))
    for use in (
        lambda: nameless.name,
        lambda: nameless.space,
        lambda: nameless.propose(Population("a", root), generator(0), 1),
    ):
        with pytest.raises(NotImplementedError):
            use()
    population = Population("a", root)
    assert nameless.begin(population, generator(0)) is population


def test_paths_are_ranked_by_score_not_by_quality(build, vit, root, agent):
    heavy = build.path(vit, "a/0/0/0", quality=0.9)
    light = build.path(vit, "a/0/0/1", quality=0.85, shared=root.components)
    live = [build.path(vit, f"{task}/0/0/0", shared=root.components) for task in "bcd"]
    population = replace(Population.start("a", root, live), own=(heavy, light))
    assert agent().ranked(population) == [heavy, light]
    assert agent(s_size=0.7).ranked(population) == [light, heavy]
    assert agent(s_size=0.7).best(population) is light


def test_compute_counts_in_the_ranking(build, vit, root, agent):
    slow = replace(build.path(vit, "a/0/0/0"), metrics=Metrics(0.9, 2000))
    fast = replace(build.path(vit, "a/0/0/1"), metrics=Metrics(0.85, 500))
    population = Population("a", root, own=(fast, slow))
    assert agent().best(population) is slow
    assert agent(s_compute=0.5).best(population) is fast


def test_scores_follow_the_current_sharing(build, vit, root, agent):
    """The same two paths change places when another task begins to share."""
    early = build.path(vit, "a/0/0/0", quality=0.80)
    late = build.path(vit, "a/0/0/1", quality=0.81)
    scorer = agent("mu2net", s_size=0.5)
    before = replace(Population.start("a", root, []), own=(early, late))
    friend = build.path(vit, "b/0/0/0", shared=[early.component(f"block_0{i}") for i in range(3)])
    after = replace(Population.start("a", root, [friend]), own=(early, late))
    assert scorer.ranked(before) == [late, early]
    assert scorer.ranked(after) == [early, late]
    assert scorer.score(after, early) > scorer.score(before, early)
    assert scorer.score(after, late) == scorer.score(before, late)


@pytest.mark.parametrize(("name", "winner"), [("munet", 0), ("mu2net", 2), ("mu2net-plus", 2)])
def test_ties_go_to_the_oldest_in_munet_and_to_the_newest_in_mu2net(build, vit, root, agent, name, winner):
    own = tuple(build.path(vit, f"a/0/0/{i}", quality=0.5) for i in range(3))
    worse = build.path(vit, "a/0/0/9", quality=0.4)
    ranked = agent(name).ranked(Population("a", root, own=(*own, worse)))
    assert ranked[0] is own[winner]
    assert ranked[1] is own[1]
    assert ranked[-1] is worse


@pytest.mark.parametrize("name", EVOLVING)
def test_a_task_without_paths_has_no_best(root, agent, name):
    assert agent(name).best(Population("a", root)) is None


@pytest.mark.parametrize("name", EVOLVING)
@pytest.mark.parametrize(("quality", "is_kept"), [(0.4, False), (0.6, True)])
def test_a_child_is_kept_against_a_parent_of_the_same_task_and_agent(build, vit, root, agent, name, quality, is_kept):
    parent = build.path(vit, "a/0/0/0", quality=0.5, agent=name)
    child = build.path(vit, "a/0/1/0", quality=quality, parent=parent.id, agent=name)
    assert agent(name).keeps(Population("a", root, own=(parent,)), child) is is_kept


@pytest.mark.parametrize(("name", "is_kept"), [("munet", False), ("mu2net", True), ("mu2net-plus", True)])
def test_an_equal_child_is_kept_in_mu2net_only(build, vit, root, agent, name, is_kept):
    parent = build.path(vit, "a/0/0/0", agent=name)
    child = build.path(vit, "a/0/1/0", parent=parent.id, agent=name)
    assert agent(name).keeps(Population("a", root, own=(parent,)), child) is is_kept


@pytest.mark.parametrize("name", EVOLVING)
def test_a_worse_child_is_kept_with_a_parent_of_another_task_or_agent(build, vit, root, agent, name):
    foreign = build.path(vit, "b/0/0/0", quality=0.9, agent=name)
    by_other_agent = build.path(vit, "a/0/0/0", quality=0.9, agent="freeze:2")
    population = Population("a", root, own=(by_other_agent,), others=(foreign,))
    for parent_id in (foreign.id, by_other_agent.id, "root"):
        child = build.path(vit, "a/0/1/0", quality=0.1, parent=parent_id, agent=name)
        assert agent(name).keeps(population, child)


def test_a_child_is_kept_by_score_not_by_quality(build, vit, root, agent):
    parent = build.path(vit, "a/0/0/0", quality=0.80, shared=root.components)
    live = [build.path(vit, f"{task}/0/0/0", shared=root.components) for task in "bcd"]
    population = replace(Population.start("a", root, live), own=(parent,))
    child = build.path(vit, "a/0/1/0", quality=0.81, parent=parent.id)
    assert agent().keeps(population, child)
    assert not agent(s_size=0.7).keeps(population, child)


@pytest.mark.parametrize("name", EVOLVING)
def test_a_generation_is_observed(build, vit, root, agent, name):
    parent = build.path(vit, "a/0/0/0", quality=0.5, agent=name)
    better, worse = (
        build.path(vit, f"a/0/1/{i}", quality=quality, parent=parent.id, agent=name)
        for i, quality in enumerate((0.6, 0.4))
    )
    trained = [Trained(Proposal(parent.id, "own", (), {}), path) for path in (better, worse)]
    before = Population("a", root, own=(parent,), picks={parent.id: 1})
    after = agent(name).observe(before, trained)
    assert after.own == (parent, better)
    assert after.picks == {parent.id: 3}
    assert set(after.lineage) == {better.id, worse.id}
    assert after.generation == 1
    assert before.own == (parent,)


def test_children_of_one_generation_are_compared_with_its_start_not_with_each_other(build, vit, root, agent):
    parent = build.path(vit, "a/0/0/0", quality=0.5)
    children = [
        build.path(vit, f"a/0/1/{i}", quality=quality, parent=parent.id) for i, quality in enumerate((0.9, 0.6))
    ]
    trained = [Trained(Proposal(parent.id, "own", (), {}), path) for path in children]
    assert agent().observe(Population("a", root, own=(parent,)), trained).own == (parent, *children)
