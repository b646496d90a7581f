from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.path import Metrics, Path
from mu2net.core.score import Scoring, accounted_parameters, count_sharers
from mu2net.errors import ConfigError, UnknownComponentError

FACTOR = st.floats(0.01, 1.0)


@given(st.floats(0, 1), FACTOR, FACTOR, st.integers(1, 10**7), st.integers(1, 10**10))
def test_score_is_quality_times_both_penalties(build, quality, s_size, s_compute, params, flops):
    component = build.component(build.block_slot(0), "x", num_params=params)
    path = Path("pets/0/0/0", "pets", (component,), {}, metrics=Metrics(quality, flops))
    scoring = Scoring(1000, 2000, s_size, s_compute)
    expected = quality * s_size ** (params / 1000) * s_compute ** (flops / 2000)
    assert scoring.score(path, {component.digest: 1}) == pytest.approx(expected)


def test_penalties_of_one_are_off(build, vit):
    path = build.path(vit, "pets/0/0/0", quality=0.625)
    assert Scoring(1, 1).score(path, {}) == 0.625


def test_a_path_that_was_never_measured_scores_nothing(root):
    assert Scoring(1, 1, s_compute=0.5).score(root, {}) == 0.0


@pytest.mark.parametrize("name", ["s_size", "s_compute"])
@pytest.mark.parametrize("value", [0.0, -0.5, 1.01, float("nan")])
def test_factors_outside_their_interval_are_an_error(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        Scoring(1, 1, **{name: value})


@pytest.mark.parametrize("references", [(0, 1), (1, 0)])
def test_references_must_be_positive(references):
    with pytest.raises(ConfigError, match="is 0; expected at least 1"):
        Scoring(*references)


def test_sharers_count_tasks_and_the_root_is_none(build, vit, root):
    trunk = [component for component in root.components if component.slot.kind == "block"]
    a = build.path(vit, "a/0/0/0", shared=trunk)
    b = build.path(vit, "b/0/0/0", shared=trunk[:2])
    sharers = count_sharers([root, a, b])
    assert [sharers[component.digest] for component in trunk] == [2, 2, 1, 1]
    assert root.component("norm").digest not in sharers
    assert sharers[a.component("head").digest] == 1


def test_a_task_counts_once_for_a_component_that_it_uses_twice(build):
    first, second = (build.component(build.block_slot(i), "x") for i in range(2))
    twin = Path("a/0/0/0", "a", (first, type(first)(first.digest, second.slot, 100)), {})
    assert count_sharers([twin]) == {first.digest: 1}


@given(st.integers(1, 9), st.integers(1, 9))
def test_accounted_parameters_divide_each_component_by_its_tasks(build, tasks, others):
    a, b = build.component(build.block_slot(0), "a", num_params=60), build.component(build.head, "b", num_params=7)
    path = Path("pets/0/0/0", "pets", (a, b), {})
    assert accounted_parameters(path, {a.digest: tasks, b.digest: others}) == pytest.approx(60 / tasks + 7 / others)


@given(st.integers(1, 8))
def test_accounted_parameters_of_an_old_task_fall_as_later_tasks_share(build, later):
    anatomy = build.vit()
    old = build.path(anatomy, "old/0/0/0")
    live, charged = [old], []
    for i in range(later):
        charged.append(accounted_parameters(old, count_sharers(live)))
        live.append(build.path(anatomy, f"new{i}/0/0/0", shared=[old.component("block_00")]))
    charged.append(accounted_parameters(old, count_sharers(live)))
    assert charged == sorted(charged, reverse=True)
    assert charged[0] == old.num_params
    assert charged[-1] == pytest.approx(old.num_params - 100 + 100 / (later + 1))


def test_all_tasks_together_are_charged_for_every_component_once(build, vit, root):
    live = [build.path(vit, f"{task}/0/0/0", shared=root.components[: 2 + i]) for i, task in enumerate("abc")]
    distinct = {component.digest: component.num_params for path in live for component in path.components}
    sharers = count_sharers(live)
    assert sum(accounted_parameters(path, sharers) for path in live) == pytest.approx(sum(distinct.values()))


def test_a_component_that_nobody_uses_is_an_error(build, vit):
    path = build.path(vit, "pets/0/0/0")
    sharers = count_sharers([path])
    del sharers[path.component("block_02").digest]
    with pytest.raises(UnknownComponentError, match=r"slot 'block_02' of path 'pets/0/0/0'"):
        accounted_parameters(path, sharers)
