from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.population import Population
from mu2net.errors import PrivacyError


@pytest.fixture
def live(build, vit, root):
    trunk = [component for component in root.components if component.slot.kind == "block"]
    return [
        root,
        build.path(vit, "a/0/0/0", shared=trunk),
        build.path(vit, "secret/0/0/0", shared=trunk[:1], is_private=True),
        build.path(vit, "b/0/0/0", shared=trunk[:2]),
    ]


def test_start_sorts_own_paths_from_seeds(root, live):
    population = Population.start("a", root, live)
    assert [path.id for path in population.own] == ["a/0/0/0"]
    assert [path.id for path in population.seeds] == ["root", "b/0/0/0"]
    assert [path.id for path in population.candidates] == ["root", "b/0/0/0", "a/0/0/0"]
    assert population.picks == {}


def test_sharers_are_other_tasks_private_ones_included(root, live):
    population = Population.start("b", root, live)
    blocks = [root.component(f"block_0{i}").digest for i in range(4)]
    assert [population.sharers.get(block, 0) for block in blocks] == [2, 1, 1, 1]
    assert [population.sharers_with(live[3])[block] for block in blocks[:2]] == [3, 2]
    assert population.sharers_with(live[3])[live[3].component("head").digest] == 1
    assert blocks[2] not in population.sharers_with(live[3])


def test_a_private_task_may_use_its_own_paths_and_the_public_ones(root, live):
    population = Population.start("secret", root, live, {path.id: path for path in live})
    assert [path.id for path in population.candidates] == ["root", "a/0/0/0", "b/0/0/0", "secret/0/0/0"]
    assert "secret/0/0/0" in population.lineage


def test_private_paths_never_seed_others(root, live):
    population = Population.start("new", root, live, {path.id: path for path in live})
    assert "secret/0/0/0" not in {path.id for path in population.candidates}
    assert "secret/0/0/0" not in population.lineage


@pytest.mark.parametrize("place", ["others", "lineage"])
def test_a_population_refuses_private_paths_of_other_tasks(root, live, place):
    paths = {"others": (live[2],), "lineage": {live[2].id: live[2]}}
    with pytest.raises(PrivacyError, match="'secret/0/0/0' is private to task 'secret' and cannot seed 'a'"):
        Population("a", root, **{place: paths[place]})


def test_the_walk_to_ancestors_does_not_reach_a_private_path(build, vit, root, live):
    public = build.path(vit, "c/0/0/0", parent="secret/0/0/0")
    population = Population.start("a", root, [*live, public], {path.id: path for path in [*live, public]})
    assert [path.id for path in population.ancestors(public)] == ["c/0/0/0", "root"]


def test_candidates_by_id(root, live):
    population = Population.start("a", root, live)
    assert population.candidate("b/0/0/0") is live[3]
    with pytest.raises(KeyError):
        population.candidate("secret/0/0/0")


def test_ancestors_are_live_and_history_is_walked_through(build, vit, root):
    """The parameters of a path that is no longer live may have been collected."""
    oldest = build.path(vit, "a/0/0/0")
    dead = build.path(vit, "b/0/0/0", parent=oldest.id)
    young = build.path(vit, "b/0/1/0", parent=dead.id)
    population = Population.start("c", root, [oldest, young], {path.id: path for path in (oldest, dead, young)})
    assert [path.id for path in population.ancestors(young)] == ["b/0/1/0", "a/0/0/0", "root"]


@given(st.integers(1, 6), st.data())
def test_every_walk_ends_at_the_root_once(build, vit, root, length, data):
    ids = [f"a/0/0/{i}" for i in range(length)]
    parents = [data.draw(st.sampled_from([*ids, "root", "gone"])) for _ in ids]
    own = [build.path(vit, path_id, parent=parent) for path_id, parent in zip(ids, parents, strict=True)]
    walk = [path.id for path in Population.start("a", root, own).ancestors(own[0])]
    assert walk[0] == ids[0]
    assert walk[-1] == "root"
    assert len(walk) == len(set(walk))


def test_the_walk_from_the_root_is_the_root(root):
    assert list(Population("a", root).ancestors(root)) == [root]


def test_earlier_picks_are_taken_over(root, live):
    assert Population.start("a", root, live, picks={"root": 3}).picks == {"root": 3}


def test_start_accepts_a_live_path_that_became_private_as_its_own(root, live):
    own = replace(live[1], is_private=True)
    assert Population.start("a", root, [own]).own == (own,)
