from __future__ import annotations

import json

import pytest

from mu2net.store.store import Store


def test_every_parameter_is_either_added_or_reused(evolved):
    for task in evolved.tasks():
        assert task.added_params + task.reused * task.num_params == pytest.approx(task.num_params)
        assert sum(task.reused_from.values()) == pytest.approx(task.reused)
        assert 0 < task.added_params <= task.num_params
    one, two = evolved.tasks()
    assert (one.reused, one.reused_from) == (0, {})
    assert "one" in two.reused_from
    assert list(two.reused_from.values()) == sorted(two.reused_from.values(), reverse=True)


def test_accounted_parameters_are_shared_out(evolved):
    """All tasks together are charged for every component that is used exactly once."""
    used = {part.digest: part.num_params for task in ("one", "two") for part in evolved.path(task).slots}
    assert sum(task.accounted_params for task in evolved.tasks()) == pytest.approx(sum(used.values()))
    one = evolved.task("one")
    shared = [part.num_params for part in evolved.path("one").slots if part.used_by == ("one", "two")]
    assert shared
    assert one.accounted_params == one.num_params - sum(shared) / 2


def test_accounted_parameters_fall_when_another_task_shares(system, small):
    before = system.evolve("one", agent="linear", children=1, **small)
    assert before.accounted_params == before.num_params
    system.evolve("two", agent="linear", children=1, **small)
    after = system.task("one")
    assert after.accounted_params < before.accounted_params
    root = sum(part.num_params for part in system.path("one").slots if part.trained_by == "root")
    assert after.accounted_params == before.num_params - root / 2
    assert (after.path_id, after.test, after.num_params) == (before.path_id, before.test, before.num_params)


def test_a_path_says_whose_component_is_in_every_slot(evolved):
    one, two = evolved.path("one"), evolved.path("two")
    live = Store.open(evolved.directory).live_path("two")
    assert [(part.slot, part.digest) for part in two.slots] == list(live.chain)
    assert (two.id, two.task, two.agent, dict(two.hparams)) == (live.id, "two", "mu2net", dict(live.hparams))
    assert (two.slots[0].slot, two.slots[-1].slot) == ("patch_embed", "head")
    for part in two.slots:
        shared = part.digest in {other.digest for other in one.slots}
        assert part.used_by == (("one", "two") if shared else ("two",))
        if part.trained_by == "one":
            assert shared
    assert two.slots[-1].trained_by == "two"
    assert {part.trained_by for part in one.slots} == {"one"}


def test_lineage_leads_to_the_root(evolved):
    two = evolved.path("two")
    parents = {child.id: child.parent_id for task in ("one", "two") for child in evolved.history(task)}
    assert two.lineage[0] == parents[two.id]
    for child, parent in zip(two.lineage, two.lineage[1:], strict=False):
        assert parents[child] == parent
    assert two.lineage[-1] == "root"


def test_history_has_every_child_in_the_order_of_sampling(system, small):
    system.evolve("one", children=3, **small)
    system.evolve("one", children=2, agent="linear", **small)
    history = system.history("one")
    ids = [(child.cycle, child.generation, child.id) for child in history]
    assert ids == [
        (0, 0, "one/0/0/0"),
        (0, 0, "one/0/0/1"),
        (0, 1, "one/0/1/0"),
        (1, 0, "one/1/0/0"),
        (1, 0, "one/1/0/1"),
    ]
    task = system.task("one")
    assert [child.id for child in history if child.is_live] == [task.path_id]
    assert task.children == 5
    assert task.seconds > 0
    for child in history:
        assert child.quality == max(child.validations)
        assert child.examples in (2 * 48, 4 * 48)
        assert 0 < child.num_trained <= task.num_params
    linear = [child for child in history if child.agent == "linear"]
    assert {child.num_trained for child in linear} == {2 * 16 + 16 * 3 + 3}
    assert all(child.parent_id == "root" for child in linear)


def test_answers_turn_into_json(evolved):
    answers = [
        *evolved.tasks(),
        evolved.path("two"),
        *evolved.history("two"),
        evolved.verify(),
        evolved.evaluate("one"),
        *evolved.predict("one", []),
    ]
    for answer in answers:
        assert json.loads(json.dumps(answer.to_dict()))
