from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.mutation import ChildDraw, ConstantRate, InheritedRates, mutate_data_hparams
from mu2net.core.path import Mutation
from mu2net.core.population import Population
from mu2net.core.proposal import SlotPlan
from mu2net.core.rng import generator
from mu2net.core.space import RATE, mu2net_plus_space, mu2net_space, munet_space
from mu2net.errors import RangeError


@pytest.fixture(scope="module")
def draw(vit, root):
    """Return a child: ``draw(parent, rates, own=…, live=…, hparams=…)``."""

    def make(parent, rates, *, task="a", live=(), history=(), hparams=None, anatomy=vit, space=None, **how):
        lineage = {path.id: path for path in history}
        population = Population.start(task, root if anatomy is vit else parent, live, lineage)
        child = ChildDraw(population, anatomy, space or munet_space(anatomy), parent, rates, generator(0))
        child.set_hparams(hparams or {})
        child.mutate_hparams()
        return child.propose("own", **{"adds_adapters": True, "inherits_momentum": False, **how})

    return make


def plan(proposal, name):
    (found,) = (plan for plan in proposal.slots if plan.slot.name == name)
    return found


def names(proposal):
    return [plan.slot.name for plan in proposal.slots]


def actions(proposal):
    return {plan.slot.name: plan.action for plan in proposal.slots}


def written(proposal):
    return {mutation.name for mutation in proposal.mutations}


def test_a_constant_rate_applies_with_its_probability_and_stores_nothing():
    rates, rng = ConstantRate(0.14), generator("constant")
    applied = sum(rates.draw("clone:x", rng) for _ in range(4000))
    assert abs(applied - 560) < 5 * (4000 * 0.14 * 0.86) ** 0.5
    assert rates.carried() == {}


@given(st.sampled_from(RATE.values), st.integers(0, 10_000))
def test_an_inherited_rate_moves_at_most_one_step_and_is_stored_applied_or_not(rate, seed):
    rates = InheritedRates({"clone:x": rate, "add:y": 0.3})
    rates.draw("clone:x", generator(seed))
    assert abs(RATE.index(rates.carried()["clone:x"]) - RATE.index(rate)) <= 1
    assert rates.carried()["add:y"] == 0.3
    assert set(rates.carried()) == {"clone:x", "add:y"}


def test_a_rate_that_nobody_carries_starts_from_the_default(build):
    rates = InheritedRates({})
    assert not rates.draw("hp:opt_lr", build.script(0.99))
    assert rates.carried() == {"hp:opt_lr": 0.2}


@pytest.mark.parametrize(("direction", "drawn", "rate"), [(0.4, 0.21, 0.22), (0.6, 0.19, 0.18)])
def test_the_new_rate_decides_whether_the_mutation_is_applied(build, direction, drawn, rate):
    rates = InheritedRates({"clone:x": 0.2})
    is_applied = rates.draw("clone:x", build.script(0.0, direction, drawn))
    assert is_applied == (drawn < rate)
    assert is_applied != (drawn < 0.2)
    assert rates.carried() == {"clone:x": rate}


def test_a_rate_is_mutated_with_its_own_value_as_the_chance():
    rng = generator("rates")
    for rate in (0.1, 0.26):
        moved = 0
        for _ in range(3000):
            rates = InheritedRates({"x": rate})
            rates.draw("x", rng)
            moved += rates.carried()["x"] != rate
        assert abs(moved - 3000 * rate) < 5 * (3000 * rate * (1 - rate)) ** 0.5


def test_a_rate_that_is_not_in_its_list_is_an_error():
    with pytest.raises(RangeError, match=r"'rate' is 0\.33"):
        InheritedRates({"x": 0.33}).draw("x", generator(0))


def test_inherited_rates_do_not_change_the_parents(build):
    carried = {"x": 0.2}
    InheritedRates(carried).draw("x", build.script(0.0))
    assert carried == {"x": 0.2}


@given(st.integers(0, 10_000))
def test_data_values_move_at_most_one_step_from_the_best_paths(vit, seed):
    space = mu2net_space(vit)
    rng = generator(seed)
    best = {name: known.values[rng.integers(len(known.values))] for name, known in space.items()}
    values = mutate_data_hparams(best, space, 0.5, rng)
    assert set(values) == {name for name in space if name.startswith("ds_")}
    assert all(abs(space[name].index(value) - space[name].index(best[name])) <= 1 for name, value in values.items())


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_data_values_move_with_the_given_probability(vit, mu):
    space = mu2net_space(vit)
    best = {**space.defaults(), "ds_hue_delta": 0.05}
    assert (mutate_data_hparams(best, space, mu, generator(1))["ds_hue_delta"] != 0.05) == bool(mu)


def test_every_opt_layer_and_adapter_value_is_drawn_and_nothing_else(build, draw, root, vit):
    for space in (munet_space(vit), mu2net_space(vit), mu2net_plus_space(vit)):
        rates = build.only()
        draw(root, rates, space=space, adds_adapters=False, is_mutated=False)
        opt = ["opt_lr", "opt_lr_schedule", "opt_lr_warmup_ratio", "opt_momentum", "opt_nesterov"]
        assert rates.asked == [f"hp:{name}" for name in (*opt, "num_layers", "adapter_dim")]


def test_a_changed_value_is_written_down_and_an_unchanged_one_is_not(build, draw, vit):
    parent = build.path(vit, "a/0/0/0", hparams={"opt_lr": 0.02})
    proposal = draw(parent, build.only("hp:opt_lr"))
    (mutation,) = (mutation for mutation in proposal.mutations if mutation.name.startswith("hp:"))
    assert (mutation.name, mutation.before, mutation.is_forced) == ("hp:opt_lr", 0.02, False)
    assert mutation.after == proposal.hparams["opt_lr"] in (0.01, 0.05)


def test_values_of_another_agent_are_fitted_and_that_is_written_down(build, draw, vit):
    parent = build.path(vit, "b/0/0/0", hparams={"opt_lr": 0.5})
    proposal = draw(parent, build.only(), live=[parent])
    assert proposal.hparams["opt_lr"] == 0.1
    assert "mu" not in proposal.hparams
    assert Mutation("hp:opt_lr", 0.5, 0.1, is_forced=True) in proposal.mutations


def test_layers_drop_from_the_top_with_their_adapters(build, draw, vit):
    parent = build.path(vit, "a/0/0/0", adapters={1, 3})
    proposal = draw(parent, build.only(), hparams={"num_layers": 3})
    assert names(proposal) == [
        "patch_embed", "tokens", "block_00", "adapter_01", "block_01", "block_02", "norm", "head",
    ]  # fmt: skip
    assert {"drop:adapter_03", "drop:block_03"} <= written(proposal)
    assert "drop:block_02" not in written(proposal)


def test_layers_come_back_from_the_nearest_live_ancestor(build, draw, vit, root):
    far = build.path(vit, "b/0/0/0")
    dead = build.path(vit, "c/0/0/0", parent=far.id)
    short = build.path(vit, "c/1/0/0", hparams={"num_layers": 3}, parent=dead.id)
    proposal = draw(short, build.only(), live=[far, short], history=[dead], hparams={"num_layers": 4})
    assert plan(proposal, "block_03").digest == far.component("block_03").digest
    assert plan(proposal, "block_03").action == "share"
    assert "attach:block_03" in written(proposal)
    orphan = replace(short, parent_id="gone")
    proposal = draw(orphan, build.only(), live=[far, orphan], hparams={"num_layers": 4})
    assert plan(proposal, "block_03").digest == root.component("block_03").digest


def test_a_layer_that_no_ancestor_has_is_fresh(build, vit, root):
    shallow = replace(root, components=tuple(c for c in root.components if c.slot.name != "block_03"))
    shallow = replace(shallow, hparams={"num_layers": 3, "ds_image_size": 32})
    child = ChildDraw(Population("a", shallow), vit, munet_space(vit), shallow, build.only(), generator(0))
    child.set_hparams({"num_layers": 4})
    proposal = child.propose("seed", adds_adapters=False, inherits_momentum=False)
    assert (plan(proposal, "block_03").action, plan(proposal, "block_03").digest) == ("fresh", None)
    assert "attach:block_03" in written(proposal)


def test_an_own_layer_that_comes_back_is_cloned(build, draw, vit):
    first = build.path(vit, "a/0/0/0")
    short = build.path(vit, "a/0/1/0", hparams={"num_layers": 3}, parent=first.id)
    proposal = draw(short, build.only(), live=[first, short], hparams={"num_layers": 4})
    assert plan(proposal, "block_03") == SlotPlan(build.block_slot(3), "clone", first.component("block_03").digest)


@given(st.sets(st.integers(0, 3)), st.sets(st.integers(0, 3)))
def test_blocks_without_an_adapter_gain_one_and_none_is_lost(build, draw, vit, present, gained):
    parent = build.path(vit, "b/0/0/0", adapters=present)
    rates = build.only(*(f"add:adapter_{i:02d}" for i in gained))
    proposal = draw(parent, rates, live=[parent])
    assert names(proposal) == [slot.name for slot in vit.slots(4, present | gained)]
    for index in present | gained:
        expected = "share" if index in present else "fresh"
        assert plan(proposal, f"adapter_{index:02d}").action == expected
    assert {name for name in written(proposal) if name[:3] == "add"} == {
        f"add:adapter_{i:02d}" for i in gained - present
    }
    assert {name for name in rates.asked if name[:3] == "add"} == {
        f"add:adapter_{i:02d}" for i in {0, 1, 2, 3} - present
    }


def test_an_agent_that_adds_no_adapters_keeps_those_of_the_parent(build, draw, vit):
    parent = build.path(vit, "b/0/0/0", adapters={2})
    rates = build.only(*(f"add:adapter_{i:02d}" for i in range(4)))
    assert names(draw(parent, rates, live=[parent], adds_adapters=False)) == [slot.name for slot in vit.slots(4, {2})]


def test_one_inner_size_per_path_another_size_makes_all_adapters_anew(build, draw, vit):
    parent = build.path(vit, "a/0/0/0", adapters={0, 2}, hparams={"adapter_dim": 32})
    proposal = draw(parent, build.only("add:adapter_01"), hparams={"adapter_dim": 64})
    assert {name: action for name, action in actions(proposal).items() if name[:7] == "adapter"} == {
        "adapter_00": "fresh", "adapter_01": "fresh", "adapter_02": "fresh",
    }  # fmt: skip
    assert {"resize:adapter_00", "add:adapter_01", "resize:adapter_02"} <= written(proposal)
    forced = {mutation.name: mutation.is_forced for mutation in proposal.mutations}
    assert (forced["resize:adapter_00"], forced["add:adapter_01"]) == (True, False)


def test_a_backbone_without_adapters_is_never_asked_for_one(build, draw, lite):
    rates = build.only()
    proposal = draw(build.root(lite), rates, anatomy=lite)
    assert names(proposal) == [slot.name for slot in lite.slots(5)]
    assert not any(name.startswith("add:") for name in rates.asked)


def test_shared_unless_cloned_and_norm_is_always_cloned(build, draw, vit, root):
    rates = build.only("clone:block_01", "clone:patch_embed")
    proposal = draw(root, rates)
    cloned = {"patch_embed", "block_01", "norm"}
    for component in root.components:
        found = plan(proposal, component.slot.name)
        assert (found.action, found.digest) == ("clone" if found.slot.name in cloned else "share", component.digest)
    assert "clone:norm" not in rates.asked
    forced = {m.name: m.is_forced for m in proposal.mutations}
    assert forced == {"clone:patch_embed": False, "clone:block_01": False, "clone:norm": True}
    assert [slot.name for slot in proposal.trainable] == ["patch_embed", "block_01", "norm", "head"]


def test_unmutated_child_trains_a_new_head_only(build, draw, vit):
    parent = build.path(vit, "b/0/0/0", adapters={1})
    rates = build.only("clone:block_01", "add:adapter_00")
    proposal = draw(parent, rates, live=[parent], is_mutated=False)
    assert [slot.name for slot in proposal.trainable] == ["head"]
    assert names(proposal) == [component.slot.name for component in parent.components]
    assert not any(name.startswith(("clone", "add")) for name in rates.asked)


def test_heads_are_fresh_with_a_parent_of_another_task_and_cloned_with_one_of_the_same(build, draw, vit, root):
    own, other = build.path(vit, "a/0/0/0"), build.path(vit, "b/0/0/0")
    for parent in (other, root):
        assert plan(draw(parent, build.only(), live=[own, other]), "head").action == "fresh"
    cloned = plan(draw(own, build.only(), live=[own, other]), "head")
    assert (cloned.action, cloned.digest) == ("clone", own.component("head").digest)
    headless = replace(own, components=own.components[:-1])
    assert plan(draw(headless, build.only(), live=[headless]), "head").action == "fresh"


def test_own_components_are_cloned_unless_another_task_shares_them(build, draw, vit, root):
    borrowed = root.component("block_00")
    own = build.path(vit, "a/0/0/0", shared=[borrowed])
    friend = build.path(vit, "b/0/0/0", shared=[own.component("block_01")])
    secret = build.path(vit, "s/0/0/0", shared=[own.component("block_02")], is_private=True)
    rates = build.only()
    proposal = draw(own, rates, live=[own, friend, secret])
    shared = {"block_00", "block_01", "block_02"}
    assert {name for name, action in actions(proposal).items() if action == "share"} == shared
    assert {name for name in rates.asked if name[:5] == "clone"} == {f"clone:{name}" for name in shared}
    assert all(m.is_forced for m in proposal.mutations if m.name[:5] == "clone")


def test_what_another_task_left_behind_is_cloned_by_the_only_task_that_uses_it(build, draw, vit):
    former = build.path(vit, "b/0/0/0")
    own = build.path(vit, "a/0/0/0", shared=[former.component("block_01")], parent=former.id)
    successor = build.path(vit, "b/1/0/0", parent=former.id)
    proposal = draw(own, build.only(), live=[own, successor], history=[former])
    assert plan(proposal, "block_01").action == "clone"


def test_forced_mutations_store_no_rate(build, draw, vit, root):
    own = build.path(vit, "a/0/0/0", shared=[root.component("block_00")])
    proposal = draw(own, InheritedRates({}), live=[own])
    assert {name for name in proposal.rates if name[:5] == "clone"} == {"clone:block_00"}
    assert {name for name in proposal.rates if name[:3] == "add"} == {f"add:adapter_{i:02d}" for i in range(4)}


def test_tokens_are_shared_or_cloned_at_the_parents_size(build, draw, vit, root):
    assert actions(draw(root, build.only()))["tokens"] == "share"
    assert actions(draw(root, build.only("clone:tokens")))["tokens"] == "clone"


def test_tokens_for_another_size_come_from_the_nearest_live_ancestor_of_that_size(build, draw, vit):
    far = build.path(vit, "b/0/0/0", hparams={"ds_image_size": 64})
    dead = build.path(vit, "c/0/0/0", hparams={"ds_image_size": 64}, parent=far.id)
    near = build.path(vit, "c/1/0/0", parent=dead.id)
    proposal = draw(near, build.only(), live=[far, near], history=[dead], hparams={"ds_image_size": 64})
    assert plan(proposal, "tokens").digest == far.component("tokens").digest
    assert plan(proposal, "tokens").action == "share"


def test_tokens_return_to_the_roots_at_the_roots_size(build, draw, vit, root):
    parent = build.path(vit, "a/0/0/0", hparams={"ds_image_size": 64})
    proposal = draw(parent, build.only(), hparams={"ds_image_size": 32})
    assert (plan(proposal, "tokens").action, plan(proposal, "tokens").digest) == (
        "share",
        root.component("tokens").digest,
    )


def test_tokens_for_a_size_that_no_ancestor_has_are_the_roots_resampled_and_trained(build, draw, vit, root):
    parent = build.path(vit, "a/0/0/0", hparams={"ds_image_size": 64})
    rates = build.only()
    proposal = draw(parent, rates, hparams={"ds_image_size": 48})
    found = plan(proposal, "tokens")
    assert (found.action, found.digest, found.is_trainable) == ("resample", root.component("tokens").digest, True)
    assert Mutation("resample:tokens", is_forced=True) in proposal.mutations
    assert "clone:tokens" not in rates.asked


def test_a_root_that_does_not_state_its_size_has_the_networks(build, vit, root):
    silent = replace(root, hparams={})
    child = ChildDraw(Population("a", silent), vit, munet_space(vit), silent, build.only(), generator(0))
    assert plan(child.propose("seed", adds_adapters=False, inherits_momentum=False), "tokens").action == "share"


def test_an_ancestor_of_the_size_without_the_slot_is_passed_over(build, draw, vit, root):
    odd = build.path(vit, "b/0/0/0", hparams={"ds_image_size": 64})
    odd = replace(odd, components=tuple(c for c in odd.components if c.slot.name != "tokens"))
    near = build.path(vit, "c/0/0/0", parent=odd.id)
    proposal = draw(near, build.only(), live=[odd, near], hparams={"ds_image_size": 64})
    assert plan(proposal, "tokens").action == "resample"


def test_a_root_without_a_sized_slot_is_an_error(build, vit, root):
    broken = replace(root, components=tuple(c for c in root.components if c.slot.name != "tokens"))
    child = ChildDraw(Population("a", broken), vit, munet_space(vit), broken, build.only(), generator(0))
    child.set_hparams({"ds_image_size": 64})
    with pytest.raises(ValueError, match="the root has no slot 'tokens'"):
        child.propose("seed", adds_adapters=False, inherits_momentum=False)


def test_a_proposal_says_where_it_comes_from(draw, root, build):
    proposal = draw(root, build.only(), inherits_momentum=True)
    assert (proposal.parent_id, proposal.origin, proposal.inherits_momentum) == ("root", "own", True)
