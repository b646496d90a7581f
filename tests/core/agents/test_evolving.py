from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.agents import make_agent
from mu2net.core.agents.base import Trained
from mu2net.core.agents.evolving import EvolvingAgent
from mu2net.core.population import Population
from mu2net.core.rng import generator
from mu2net.core.space import RATE

EVOLVING = ["munet", "mu2net", "mu2net-plus"]
SEEDS = range(400)


@pytest.fixture(scope="session")
def agent(build, vit):
    def make(name: str = "mu2net", **changes):
        return make_agent(name, vit, build.scoring(vit), changes)

    return make


@pytest.fixture(scope="session")
def crowd(build, vit, root):
    """Return a population with a root, two public seeds, a private neighbour and two own paths."""
    b = build.path(vit, "b/0/0/0", shared=root.components[:3])
    c = build.path(vit, "c/0/0/0", adapters={1}, parent=b.id)
    secret = build.path(vit, "secret/0/0/0", is_private=True, shared=root.components)
    worse = build.path(vit, "a/0/0/0", quality=0.5, parent=c.id)
    best = build.path(vit, "a/0/0/1", quality=0.6, shared=[worse.component("block_00")], parent=worse.id)
    live = [root, b, c, secret]
    start = Population.start("a", root, live, {path.id: path for path in [*live, worse, best]})
    return replace(start, own=(worse, best))


def near(count, total, p):
    return abs(count - total * p) <= 5 * (total * p * (1 - p)) ** 0.5


def test_an_evolving_agent_must_say_how_parents_and_rates_are_found(build, vit, root):
    bare = EvolvingAgent(vit, build.scoring(vit))
    for use in (lambda: bare.sample_parent(Population("a", root), generator(0)), lambda: bare.rates(root, {})):
        with pytest.raises(NotImplementedError):
            use()
    assert bare.mutated_mu(root, generator(0)) == {}


# The same for all of them.


@pytest.mark.parametrize("name", EVOLVING)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 5), more=st.integers(0, 4))
def test_equal_keys_give_equal_children_and_a_child_does_not_depend_on_how_many_follow(
    agent, crowd, name, seed, n, more
):
    begun = agent(name).begin(crowd, generator(seed, "begin"))
    few = agent(name).propose(begun, generator(seed), n)
    assert few == agent(name).propose(begun, generator(seed), n)
    assert few == agent(name).propose(begun, generator(seed), n + more)[:n]
    assert len(few) == n


@pytest.mark.parametrize("name", EVOLVING)
def test_a_generation_of_no_children_is_empty(agent, crowd, name):
    assert agent(name).propose(crowd, generator(0), 0) == []


@pytest.mark.parametrize("name", EVOLVING)
def test_other_keys_give_other_children(agent, crowd, name):
    first, second = (agent(name).propose(crowd, generator(seed), 8) for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("name", EVOLVING)
@given(seed=st.integers(0, 10_000))
def test_data_values_come_from_the_best_path_and_are_shared_by_the_generation(build, vit, root, agent, name, seed):
    best_values = {
        "ds_area_range_min": 0.01,
        "ds_image_size": 24,
        "ds_hue_delta": 0.0,
        "ds_aspect_ratio_range_min": 0.25,
    }
    other_values = {
        "ds_area_range_min": 1.0,
        "ds_image_size": 64,
        "ds_hue_delta": 0.2,
        "ds_aspect_ratio_range_min": 1.0,
    }
    best = build.path(vit, "a/0/0/0", quality=0.9, hparams=best_values)
    worse = build.path(vit, "a/0/0/1", quality=0.1, hparams=other_values)
    seed_path = build.path(vit, "b/0/0/0", hparams=other_values)
    start = Population.start("a", root, [seed_path])
    population = agent(name).begin(replace(start, own=(best, worse), picks={best.id: 2, "root": 1}), generator(seed))
    children = agent(name).propose(population, generator(seed), 6)
    space = agent(name).space
    shared = {name: value for name, value in children[0].hparams.items() if name.startswith("ds_")}
    assert len(shared) == 9
    for child in children:
        assert {name: child.hparams[name] for name in shared} == shared
    for key, value in best_values.items():
        assert abs(space[key].index(shared[key]) - space[key].index(value)) <= 1


@pytest.mark.parametrize("name", EVOLVING)
def test_data_values_start_from_the_defaults_while_the_task_has_no_path(agent, root, name):
    space = agent(name, ds_area_range_min=0.2).space
    for seed in range(40):
        (child,) = agent(name, ds_area_range_min=0.2).propose(Population("a", root), generator(seed), 1)
        for key in (key for key in space if key.startswith("ds_")):
            assert abs(space[key].index(child.hparams[key]) - space[key].index(space[key].default)) <= 1


@pytest.mark.parametrize(
    ("name", "changes", "mu"),
    [("munet", {}, 0.1), ("mu2net", {}, 0.2), ("mu2net", {"mu": 0.1}, 0.1), ("mu2net-plus", {}, 0.2)],
)
def test_data_values_move_with_the_default_mu_not_with_the_paths(build, vit, root, agent, name, changes, mu):
    values = {f"ds_{key}_delta": 0.02 for key in ("brightness", "contrast", "saturation", "hue")}
    best = build.path(vit, "a/0/0/0", hparams={**values, "mu": 0.3}, rates={"hp:ds_hue_delta": 0.3})
    moved = 0
    for seed in SEEDS:
        (child,) = agent(name, **changes).propose(Population("a", root, own=(best,)), generator(seed), 1)
        moved += sum(child.hparams[key] != value for key, value in values.items())
    assert near(moved, 4 * len(SEEDS), mu)


@pytest.mark.parametrize("name", EVOLVING)
def test_decay_counts_are_visible_to_siblings_at_once(build, vit, root, agent, name):
    """The first child takes the only own path for sure, the second one with one half."""
    own = build.path(vit, "a/0/0/0", agent=name)
    population = Population("a", root, own=(own,), picks={"root": 1})
    origins = Counter()
    for seed in SEEDS:
        origins[tuple(child.origin == "own" for child in agent(name).propose(population, generator(seed), 2))] += 1
    assert set(origins) == {(True, True), (True, False)}
    assert near(origins[True, True], len(SEEDS), 0.5)


@pytest.mark.parametrize("name", EVOLVING)
def test_picks_of_earlier_generations_count(build, vit, root, agent, name):
    own = build.path(vit, "a/0/0/0")
    population = Population("a", root, own=(own,), picks={own.id: 3, "root": 1})
    first = sum(agent(name).propose(population, generator(seed), 1)[0].origin == "own" for seed in SEEDS)
    assert near(first, len(SEEDS), 1 / 8)


@pytest.mark.parametrize("name", EVOLVING)
def test_own_paths_are_walked_by_descending_score(agent, crowd, name):
    worse, best = crowd.own
    population = replace(crowd, picks={path.id: 1 for path in crowd.seeds})
    assert all(agent(name).propose(population, generator(seed), 1)[0].parent_id == best.id for seed in range(50))
    population = replace(population, picks={**population.picks, best.id: 1})
    found = Counter(agent(name).propose(population, generator(seed), 1)[0].parent_id for seed in SEEDS)
    assert set(found) == {best.id, worse.id}
    assert near(found[best.id], len(SEEDS), 0.5)


@pytest.mark.parametrize("name", EVOLVING)
def test_when_all_refuse_the_pick_is_uniform_over_everything_public(agent, crowd, name):
    population = agent(name).begin(replace(crowd, picks={path.id: 3000 for path in crowd.candidates}), generator(0))
    children = [agent(name).propose(population, generator(seed), 1)[0] for seed in range(1000)]
    assert {child.origin for child in children} == {"uniform"}
    found = Counter(child.parent_id for child in children)
    assert set(found) == {path.id for path in crowd.candidates}
    assert "secret/0/0/0" not in found
    assert all(near(count, 1000, 1 / 5) for count in found.values())


@pytest.mark.parametrize("name", EVOLVING)
def test_mutated_children_always_clone_the_norm(agent, crowd, name):
    population = agent(name).begin(replace(crowd, picks={path.id: 3 for path in crowd.candidates}), generator(0))
    for seed in range(60):
        for child in agent(name).propose(population, generator(seed), 3):
            (norm,) = (plan for plan in child.slots if plan.slot.name == "norm")
            assert norm.action == "clone"
            assert "clone:norm" not in child.rates


@pytest.mark.parametrize(("name", "inherits"), [("munet", False), ("mu2net", True), ("mu2net-plus", True)])
def test_momentum_is_inherited_in_mu2net_only(agent, crowd, name, inherits):
    assert {child.inherits_momentum for child in agent(name).propose(crowd, generator(0), 8)} == {inherits}


@pytest.mark.parametrize(("name", "adds"), [("munet", True), ("mu2net", False), ("mu2net-plus", True)])
def test_adapters_are_added_in_munet_and_mu2net_plus(agent, root, name, adds):
    population = Population("a", root, picks={"root": 1})
    children = [agent(name).propose(population, generator(seed), 1)[0] for seed in range(60)]
    assert any(slot.kind == "adapter" for child in children for slot in child.trainable) is adds


@pytest.mark.parametrize(("name", "mu"), [("munet", 0.1), ("mu2net", 0.2), ("mu2net-plus", 0.2)])
def test_slots_are_cloned_with_probability_mu(agent, root, name, mu):
    """The chance moves by at most one step, up as often as down, so its mean stays."""
    population = Population("a", root, picks={"root": 1})
    cloned = total = 0
    for seed in SEEDS:
        (child,) = agent(name).propose(population, generator(seed, "clone"), 1)
        plans = [plan for plan in child.slots if plan.slot.kind in ("block", "patch_embed")]
        cloned += sum(plan.action == "clone" for plan in plans)
        total += len(plans)
    assert near(cloned, total, mu)


@pytest.mark.parametrize("name", EVOLVING)
def test_observing_counts_and_rotates_as_proposing_did(build, vit, root, agent, name):
    """A generation that was trained leaves the population that its own last child would have seen."""
    seeds = [build.path(vit, f"{task}/0/0/0") for task in "bcd"]
    population = agent(name).begin(Population.start("a", root, seeds), generator(3))
    children = agent(name).propose(population, generator(4), 6)
    expected = population
    for child in children:
        expected = agent(name).picked(expected, child.parent_id, child.origin)
    trained = [
        Trained(child, build.path(vit, f"a/0/0/{i}", parent=child.parent_id, agent=name))
        for i, child in enumerate(children)
    ]
    after = agent(name).observe(population, trained)
    assert (after.picks, after.queue) == (expected.picks, expected.queue)
    assert sum(after.picks.values()) == 6
    assert len(after.own) == 6


# muNet.


@pytest.fixture
def family(build, vit, root):
    seeds = [build.path(vit, f"{task}/0/0/0", adapters={1}, hparams={"num_layers": 3}) for task in "bcd"]
    return Population.start("a", root, seeds)


def test_munet_first_tries_every_seed_once_unmutated_newest_first(agent, family):
    children = agent("munet").propose(family, generator(0), 9)
    assert [child.parent_id for child in children[:4]] == ["d/0/0/0", "c/0/0/0", "b/0/0/0", "root"]
    assert [child.origin for child in children] == ["seed"] * 4 + ["uniform"] * 5
    for child in children[:4]:
        parent = family.candidate(child.parent_id)
        assert child.slots[-1].action == "fresh"
        trained = {slot.name for slot in child.trainable}
        assert trained <= {"head", "tokens"}
        assert [plan.slot for plan in child.slots[:-1]] == [c.slot for c in parent.components if c.slot.name != "head"]
        for key in child.hparams:
            if not key.startswith("ds_"):
                assert child.hparams[key] == parent.hparams.get(key, agent("munet").space[key].default)


def test_munet_shares_the_norm_of_an_unmutated_seed(agent, family):
    (child,) = agent("munet").propose(family, generator(0), 1)
    assert {plan.slot.name: plan.action for plan in child.slots}["norm"] == "share"


def test_munet_does_not_try_a_seed_unmutated_again(agent, family):
    population = replace(family, picks={path.id: 1 for path in family.seeds})
    origins = {agent("munet").propose(population, generator(seed), 1)[0].origin for seed in range(30)}
    assert origins == {"uniform"}


# mu2Net.


def test_mu2net_shuffles_the_seeds_when_the_cycle_starts(agent, family):
    orders = {agent().begin(family, generator(seed)).queue for seed in range(60)}
    assert all(set(order) == {path.id for path in family.seeds} for order in orders)
    assert len(orders) > 12
    assert agent().begin(family, generator(1)) == agent().begin(family, generator(1))
    for name in ("munet", "mu2net-plus"):
        assert agent(name).begin(family, generator(1)) is family


def test_mu2net_takes_seeds_in_the_shuffled_order_and_rotates_past_each_pick(agent, family):
    begun = agent().begin(family, generator(5))
    children = agent().propose(begun, generator(6), 4)
    assert [child.parent_id for child in children] == list(begun.queue)
    assert {child.origin for child in children} == {"seed"}
    population = begun
    for child in children:
        population = agent().picked(population, child.parent_id, child.origin)
        assert population.queue[-1] == child.parent_id
    assert population.queue == begun.queue


def test_mu2net_seeds_decay_too(agent, root):
    population = replace(Population("a", root, picks={"root": 2}), queue=("root",))
    origins = Counter(agent().propose(population, generator(seed), 1)[0].origin for seed in SEEDS)
    assert set(origins) == {"seed", "uniform"}
    assert near(origins["seed"], len(SEEDS), 1 / 4)


def test_mu2net_mutates_every_child(agent, family):
    begun = agent().begin(family, generator(5))
    for child in agent().propose(begun, generator(6), 8):
        assert {"norm", "head"} <= {slot.name for slot in child.trainable}


@pytest.mark.parametrize(("direction", "drawn", "mu", "applied"), [(0.4, 0.21, 0.22, True), (0.6, 0.19, 0.18, False)])
def test_mu_is_mutated_first_and_its_new_value_drives_the_other_draws(
    build, agent, root, direction, drawn, mu, applied
):
    script = build.script(0.0, direction, drawn)
    child = agent().mutate(Population("a", root), root, "seed", {}, script)
    assert child.hparams["mu"] == mu
    assert child.mutations[0].name == "hp:mu"
    assert ({plan.slot.name: plan.action for plan in child.slots}["block_00"] == "clone") is applied
    assert (child.hparams["opt_lr"] != 0.01) is applied


def test_mu_moves_with_its_own_value_as_the_chance(build, vit, root, agent):
    for mu in (0.12, 0.28):
        own = build.path(vit, "a/0/0/0", hparams={"mu": mu})
        population = Population("a", root, own=(own,))
        moved = sum(agent().propose(population, generator(seed, "mu"), 1)[0].hparams["mu"] != mu for seed in range(600))
        assert near(moved, 600, mu)


def test_mu_starts_from_the_default_with_a_parent_that_has_none(build, agent, root):
    child = agent(mu=0.14).mutate(Population("a", root), root, "seed", {}, build.script(0.99))
    assert child.hparams["mu"] == 0.14


# mu2Net+.


def test_mu2net_plus_falls_back_to_any_live_path(agent, crowd):
    population = replace(crowd, picks={path.id: 3000 for path in crowd.own})
    found = Counter(agent("mu2net-plus").propose(population, generator(seed), 1)[0].parent_id for seed in range(1000))
    assert set(found) == {path.id for path in crowd.candidates}
    assert all(near(count, 1000, 1 / 5) for count in found.values())


def test_mu2net_plus_stores_the_rates_of_mutations_that_are_not_applied(build, vit, agent, root):
    child = agent("mu2net-plus").mutate(Population("a", root), root, "uniform", {}, build.script(0.99))
    opt = (
        "opt_lr",
        "opt_lr_schedule",
        "opt_lr_warmup_ratio",
        "opt_momentum",
        "opt_nesterov",
        "num_layers",
        "adapter_dim",
    )
    adapters = {f"add:adapter_{i:02d}" for i in range(4)}
    slots = {f"clone:{component.slot.name}" for component in root.components} - {"clone:norm"}
    assert dict(child.rates) == dict.fromkeys({*(f"hp:{name}" for name in opt), *adapters, *slots}, 0.2)
    assert {slot.name for slot in child.trainable} == {"norm", "head"}
    assert {mutation.name for mutation in child.mutations if not mutation.is_forced} == set()


def test_mu2net_plus_inherits_the_rates_of_the_parent(build, vit, agent, root):
    parent = build.path(vit, "a/0/0/0", rates={"hp:opt_lr": 0.02, "clone:block_00": 0.3, "add:adapter_09": 0.1})
    child = agent("mu2net-plus").mutate(Population("a", root), parent, "own", {}, build.script(0.99))
    assert {name: child.rates[name] for name in parent.rates} == parent.rates
    assert child.rates["hp:opt_momentum"] == RATE.default


def test_other_agents_store_no_rates(agent, crowd):
    for name in ("munet", "mu2net"):
        assert all(child.rates == {} for child in agent(name).propose(crowd, generator(0), 8))
