"""Whole cycles with drawn qualities: what must hold for every child of every agent, whatever the draws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.agents import make_agent
from mu2net.core.rng import generator
from mu2net.core.score import accounted_parameters, count_sharers
from mu2net.core.space import RATE

PRIVATE = {"secret", "hidden"}
EVOLVING = ("munet", "mu2net", "mu2net-plus")
VIT_PLAN = [
    ("a", "mu2net", 1.0), ("secret", "mu2net-plus", 0.7), ("b", "munet", 0.3), ("c", "adapters:16", 1.0),
    ("a", "mu2net-plus", 0.3), ("hidden", "munet", 1.0), ("secret", "mu2net", 1.0), ("d", "mu2net", 0.02),
    ("b", "freeze:2", 1.0), ("b", "munet", 0.9), ("e", "mu2net-plus", 0.7), ("a", "mu2net", 0.7),
]  # fmt: skip
LITE_PLAN = [
    ("a", "munet", 1.0), ("secret", "mu2net", 0.7), ("b", "linear", 1.0), ("c", "mu2net-plus", 0.5),
    ("b", "mu2net", 0.7), ("a", "finetune", 1.0), ("d", "munet", 0.5),
]  # fmt: skip


def check_values(anatomy, agent, children):
    """Hyperparameters lie in their lists, data values are shared, and only mu2Net+ carries rates."""
    shared = {name: value for name, value in children[0].hparams.items() if name.startswith("ds_")}
    for child in children:
        assert agent.space.validate(child.hparams) == child.hparams
        assert {name: child.hparams[name] for name in shared} == shared
        assert bool(child.rates) == (agent.name == "mu2net-plus")
        assert set(child.rates.values()) <= set(RATE.values)
        assert child.inherits_momentum == (agent.name in ("mu2net", "mu2net-plus"))


def check_chain(anatomy, agent, parent, child):
    """The slots are the network's, adapters leave only with their block, and layers leave only from the top."""
    layers = int(child.hparams["num_layers"])
    adapters = {int(plan.slot.name[-2:]) for plan in child.slots if plan.slot.kind == "adapter"}
    assert tuple(plan.slot for plan in child.slots) == anatomy.slots(layers, adapters)
    inherited = {index for index in parent.adapters if index < layers}
    if agent.is_baseline:
        assert adapters == (set(range(layers)) if agent.name.startswith("adapters") else set())
    elif agent.name == "mu2net" or child.origin == "seed":
        assert adapters == inherited
    else:
        assert adapters >= inherited


def check_donors(population, child, parent):
    """Every component comes from the same slot of a path that may be a parent, and never from a private one."""
    donors = {c.digest: c for path in population.candidates for c in path.components}
    mutations = {mutation.name for mutation in child.mutations}
    for plan in child.slots:
        if plan.digest is None:
            continue
        donor = donors[plan.digest]
        assert donor.slot == plan.slot
        assert donor.task == population.task or donor.task not in PRIVATE
        own = parent.component(plan.slot.name)
        if own is None:
            assert f"attach:{plan.slot.name}" in mutations
        elif plan.digest != own.digest:
            assert plan.slot.name == "tokens"
            assert child.hparams["ds_image_size"] != parent.hparams["ds_image_size"]


def check_training(anatomy, population, child, parent):
    """What only this task uses is never shared, heads never at all, and one path has one adapter size."""
    used = {*population.root.digests, *population.sharers}
    for plan in child.slots:
        if plan.action == "share":
            assert plan.digest in used
            assert plan.slot.name not in {"head", *anatomy.forced_clones} or child.origin in ("seed", "root")
        if plan.slot.kind == "adapter" and plan.action != "fresh":
            assert child.hparams["adapter_dim"] == parent.hparams["adapter_dim"]
    head = child.slots[-1]
    is_own = parent.task == population.task
    assert (head.slot.name, head.action) == ("head", "clone" if is_own else "fresh")
    assert head.digest == (parent.component("head").digest if is_own else None)


def check_lineage(child, parent, path):
    """The stored mutations tell which hyperparameters and slots changed against the parent."""
    changed = {name for name, value in child.hparams.items() if parent.hparams.get(name, value) != value}
    written = {mutation.name for mutation in child.mutations}
    assert {f"hp:{name}" for name in changed} <= written
    slots = {plan.slot.name for plan in child.slots}
    dropped = {c.slot.name for c in parent.components} - slots - {"head"}
    assert {f"drop:{name}" for name in dropped} == {name for name in written if name.startswith("drop:")}
    trained = {slot.name for slot in child.trainable} - {"head"}
    prefixes = ("clone:", "add:", "attach:", "resize:", "resample:")
    assert trained <= {name.split(":")[1] for name in written if name.startswith(prefixes)}
    assert [component.slot for component in path.components] == [plan.slot for plan in child.slots]


def check_generation(world, agent, population, trained):
    children = [child.proposal for child in trained]
    check_values(world.anatomy, agent, children)
    for one in trained:
        parent = population.candidate(one.proposal.parent_id)
        assert not parent.is_private or parent.task == population.task
        check_chain(world.anatomy, agent, parent, one.proposal)
        check_donors(population, one.proposal, parent)
        check_training(world.anatomy, population, one.proposal, parent)
        if not agent.is_baseline:
            check_lineage(one.proposal, parent, one.path)


def check_observed(agent, before, trained, after):
    """Counts grow by one per child, and exactly the children that beat their own parents stay."""
    assert sum(after.picks.values()) == sum(before.picks.values()) + len(trained)
    assert sorted(after.queue) == sorted(before.queue)
    for one in trained:
        rival = next((path for path in before.own if path.id == one.path.parent_id), None)
        is_rival = rival is not None and rival.agent == agent.name and not agent.is_baseline
        gain = agent.score(before, one.path) - agent.score(before, rival) if is_rival else 1.0
        assert (one.path in after.own) == (gain > 0 if agent.name == "munet" else gain >= 0)


def run_cycle(world, agent, task, *, generations=3, n=5):
    population = agent.begin(world.start(task, agent.name), generator(world.seed, task, "begin"))
    recorded = {}
    for _ in range(generations):
        trained = world.generation(agent, population, n, is_private=task in PRIVATE)
        check_generation(world, agent, population, trained)
        after = agent.observe(population, trained)
        check_observed(agent, population, trained, after)
        population = after
        recorded |= {one.path.id: one.path for one in trained}
    world.history |= recorded
    return population


def simulate(world, plan, build, **size):
    for task, name, s_size in plan:
        agent = make_agent(name, world.anatomy, build.scoring(world.anatomy, s_size=s_size, s_compute=0.99))
        before = dict(world.live)
        population = run_cycle(world, agent, task, **size)
        best = world.publish(agent, population)
        assert agent.score(population, best) == max(agent.score(population, path) for path in population.own)
        assert {**before, task: best} == world.live
        sharers = count_sharers(world.live.values())
        distinct = {c.digest: c.num_params for path in world.live.values() for c in path.components}
        charged = sum(accounted_parameters(path, sharers) for path in world.live.values())
        assert charged == pytest.approx(sum(distinct.values()))


@pytest.mark.parametrize("seed", range(6))
def test_every_child_of_many_cycles_keeps_the_rules_on_a_vit(build, vit, seed):
    world = build.world(vit, seed)
    simulate(world, VIT_PLAN, build, generations=4, n=8)
    assert len(world.history) == len(VIT_PLAN) * 32
    assert len(world.live) == len({task for task, *_ in VIT_PLAN})


@pytest.mark.parametrize("seed", range(4))
def test_every_child_of_many_cycles_keeps_the_rules_on_a_convolutional_root(build, lite, seed):
    simulate(build.world(lite, seed), LITE_PLAN, build, generations=3, n=6)


def test_the_simulation_reaches_every_kind_of_mutation(build, vit):
    """Otherwise the invariants above would hold for want of cases."""
    seen, origins, actions = set(), set(), set()
    for seed in range(3):
        world = build.world(vit, seed)
        for task, name, _ in VIT_PLAN:
            agent = make_agent(name, vit, build.scoring(vit))
            population = agent.begin(world.start(task, name), generator(seed))
            for _ in range(3):
                trained = world.generation(agent, population, 8, is_private=task in PRIVATE)
                population = agent.observe(population, trained)
                world.history |= {one.path.id: one.path for one in trained}
                origins |= {one.proposal.origin for one in trained}
                actions |= {plan.action for one in trained for plan in one.proposal.slots}
                seen |= {m.name.split(":")[0] for one in trained for m in one.proposal.mutations}
            world.publish(agent, population)
    assert seen == {"hp", "clone", "add", "drop", "attach", "resize", "resample"}
    assert origins == {"own", "seed", "uniform", "root"}
    assert actions == {"share", "clone", "fresh", "resample"}


@pytest.mark.parametrize("name", EVOLVING)
@pytest.mark.parametrize("interrupted", [0, 1, 3])
def test_a_resumed_cycle_makes_the_children_of_the_uninterrupted_one(build, vit, name, interrupted):
    world = build.world(vit, 11)
    simulate(world, VIT_PLAN[:4], build, generations=2, n=4)
    agent = make_agent(name, vit, build.scoring(vit, s_size=0.7))
    begun = agent.begin(world.start("a", name), generator(11, "a", "begin"))
    population, generations = begun, []
    for _ in range(4):
        generations.append(world.generation(agent, population, 5))
        population = agent.observe(population, generations[-1])
    resumed = agent.begin(world.start("a", name), generator(11, "a", "begin"))
    for trained in generations[:interrupted]:
        resumed = agent.observe(resumed, trained)
    for expected in generations[interrupted:]:
        again = world.generation(agent, resumed, 5)
        assert again == expected
        resumed = agent.observe(resumed, again)
    assert resumed == population
    assert agent.best(resumed) == agent.best(population)


@pytest.mark.parametrize("name", EVOLVING)
def test_what_happens_to_private_tasks_does_not_change_the_children_of_others(build, vit, name):
    """A private path may lower the size that others are charged, but no draw and no donor depends on it."""
    world = build.world(vit, 5)
    simulate(world, VIT_PLAN[:3], build, generations=2, n=4)
    agent = make_agent(name, vit, build.scoring(vit))
    with_secret = world.start("new", name)
    del world.live["secret"]
    world.history = {key: path for key, path in world.history.items() if path.task != "secret"}
    without = world.start("new", name)
    assert (with_secret.candidates, with_secret.lineage) == (without.candidates, without.lineage)
    children = agent.propose(agent.begin(with_secret, generator(1)), generator(2), 20)
    assert children == agent.propose(agent.begin(without, generator(1)), generator(2), 20)


def test_decay_counts_go_on_in_the_next_cycle_of_a_task(build, vit):
    world = build.world(vit, 2)
    agent = make_agent("munet", vit, build.scoring(vit))
    for expected in (["seed", "uniform"], ["own", "uniform"]):
        population = agent.begin(world.start("a", "munet"), generator(2))
        trained = world.generation(agent, population, 40)
        assert sorted({one.proposal.origin for one in trained}) == sorted(expected)
        world.history |= {one.path.id: one.path for one in trained}
        world.publish(agent, agent.observe(population, trained))
    assert world.start("a", "munet").picks["root"] >= 2
    assert world.start("b", "munet").picks == {}
    assert replace(world.start("a", "mu2net")).picks == {}
