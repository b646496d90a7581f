from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.agents import budgeted, make_agent
from mu2net.core.agents.base import Trained
from mu2net.core.agents.budgeted import (
    DEPTH_EXAMPLES,
    LEAST_PROBED,
    MAX_TRUNKS,
    NUM_VALIDATIONS,
    TRUNK_SHARE,
)
from mu2net.core.agents.windows import Window
from mu2net.core.outlook import Outlook
from mu2net.core.population import Population
from mu2net.core.rng import generator


@pytest.fixture
def deep(build):
    return build.vit(depth=12)


@pytest.fixture
def agent(build, deep):
    return make_agent("budgeted", deep, build.scoring(deep))


@pytest.fixture
def start(build, deep):
    """Return the population at the start of a cycle of task ``a`` beside some published paths."""
    return lambda *live: Population.start("a", build.root(deep), live)


def trained(proposal):
    return [slot.name for slot in proposal.trainable if slot.name not in ("norm", "head")]


def result(build, anatomy, population, proposal, number, quality):
    """Return the path of a child: what it shares, and its own components for what it trained."""
    known = {c.digest: c for path in (*population.candidates, *population.lineage.values()) for c in path.components}
    shared = [known[plan.digest] for plan in proposal.slots if not plan.is_trainable]
    return build.path(
        anatomy,
        f"a/0/{population.generation}/{number}",
        shared=shared,
        quality=quality,
        hparams=proposal.hparams,
        parent=proposal.parent_id,
        agent="budgeted",
    )


def advance(build, anatomy, agent, population, *qualities):
    proposals = agent.propose(population, generator(0), len(qualities))
    paths = [
        result(build, anatomy, population, proposal, number, quality)
        for number, (proposal, quality) in enumerate(zip(proposals, qualities, strict=True))
    ]
    pairs = [Trained(proposal, path) for proposal, path in zip(proposals, paths, strict=True)]
    return proposals, agent.observe(population, pairs)


def published(build, anatomy, name, root, *own):
    shared = [component for component in root.components if component.slot.name not in ("norm", "head", *own)]
    return build.path(anatomy, f"{name}/0/0/0", shared=shared, agent="budgeted")


def test_the_first_task_trains_windows_of_the_root_at_once(build, deep, agent, start):
    population = start()
    assert agent.stage(population).children is None
    (first,), after = advance(build, deep, agent, population, 0.5)
    assert first.parent_id == "root"
    assert trained(first) == ["block_08", "block_09", "block_10"]
    (second, third), after = advance(build, deep, agent, after, 0.6, 0.4)
    assert (trained(second), second.parent_id) == (["block_07", "block_08", "block_09"], "root")
    assert (trained(third), third.parent_id) == (["block_10", "block_11"], "root")
    (more, other), _ = advance(build, deep, agent, after, 0.6, 0.5)
    assert (more.parent_id, trained(more)) == ("a/0/1/0", trained(second))
    assert (other.parent_id, trained(other)) == ("a/0/0/0", trained(first))


LAST_BLOCK_IS_CHEAP = {"depth": 12, "flops": 1150, "block_flops": (*[100] * 11, 10), "min_layers": 12}
"""A network that keeps all its blocks, the last of which costs a tenth of another one."""


@pytest.mark.parametrize(
    ("passes", "first", "count"),
    [
        (1e6, ["block_06", "block_07", "block_08"], 4),
        (10_000, ["block_06", "block_07", "block_08"], 4),  # about 11,600 examples of the lowest one
        (5000, ["block_10", "block_11"], 1),
        (4000, ["block_11"], 5),  # about 9,700 examples of the last two: of none enough
        (0, ["block_06", "block_07", "block_08"], 5),  # a cycle that is resumed when its time is over
    ],
)
def test_a_window_is_tried_first_where_time_affords_enough_of_it(build, start, passes, first, count):
    """The last block costs a tenth of another one: with little time it comes first, as its trunk is computed once."""
    anatomy = build.vit(**LAST_BLOCK_IS_CHEAP)
    agent = make_agent("budgeted", anatomy, build.scoring(anatomy))
    population = replace(start(), outlook=Outlook(passes, 2000))
    windows = [trained(child) for child in agent.propose(population, generator(0), count)]
    assert windows[0] == first
    assert (["block_11"] in windows) == (count == 5)
    assert len(windows) == len(agent.windows(population.root, population.outlook))
    assert "block_11" not in [its.slots[0] for its in agent.windows(population.root)]


def test_the_lowest_window_is_left_out_where_time_affords_enough_of_the_others_alone(build, start, monkeypatch):
    monkeypatch.setitem(budgeted.LOW_START, 0.5, 20_000)
    anatomy = build.vit(**LAST_BLOCK_IS_CHEAP)
    agent = make_agent("budgeted", anatomy, build.scoring(anatomy))
    population = replace(start(), outlook=Outlook(10_000, 2000))
    windows = [trained(child) for child in agent.propose(population, generator(0), 3)]
    assert [window[0] for window in windows] == ["block_08", "block_07", "block_10"]


def test_what_is_left_of_the_time_continues_the_best_where_no_other_window_fits(build, start):
    anatomy = build.vit(**LAST_BLOCK_IS_CHEAP)
    agent = make_agent("budgeted", anatomy, build.scoring(anatomy))
    population = replace(start(), outlook=Outlook(3000, 2000))
    _, after = advance(build, anatomy, agent, population, 0.5)
    for passes, parent, first in ((1e6, "root", "block_06"), (500, "a/0/0/0", "block_11")):
        (child,) = agent.propose(replace(after, outlook=Outlook(passes, 2000)), generator(0), 1)
        assert (child.parent_id, trained(child)[0]) == (parent, first)


@pytest.fixture
def shallow(build):
    """Return the shape of a network whose upper blocks may be dropped; the last one computes the class token alone."""
    return build.vit(depth=12, flops=1150, block_flops=(*[100] * 11, 10))


@pytest.fixture
def shallow_agent(build, shallow):
    return make_agent("budgeted", shallow, build.scoring(shallow))


LAST_BLOCKS = [(["block_08"], 9), (["block_07"], 8), (["block_09"], 10)]


@pytest.mark.parametrize(
    ("passes", "workers", "count"),
    [(0, 1, 1), (2500, 1, 1), (6500, 1, 1), (9000, 1, 2), (0, 2, 2), (10_500, 2, 2), (10_500, 1, 3), (0, 4, 3)],
)
def test_as_many_depths_are_compared_as_time_lets_learn(shallow_agent, start, passes, workers, count):
    population = replace(start(), outlook=Outlook(passes, 2000, workers))
    stage = shallow_agent.stage(population)
    assert (stage.children, stage.share) == (count, 1.0)
    assert stage.examples == DEPTH_EXAMPLES // NUM_VALIDATIONS
    children = shallow_agent.propose(population, generator(0), count)
    assert [(trained(child), child.hparams["num_layers"]) for child in children] == LAST_BLOCKS[:count]
    for child in children:
        blocks = [plan.slot.name for plan in child.slots if plan.slot.kind == "block"]
        assert blocks == [f"block_{index:02d}" for index in range(child.hparams["num_layers"])]
        assert child.measures_statistics


def test_the_best_depth_goes_on_where_no_window_fits(build, shallow, shallow_agent, start):
    population = replace(start(), outlook=Outlook(9000, 2000))
    _, after = advance(build, shallow, shallow_agent, population, 0.5, 0.6)
    after = replace(after, outlook=Outlook(600, 2000))
    assert shallow_agent.stage(after).children == 1
    (child,) = shallow_agent.propose(after, generator(0), 1)
    assert (child.parent_id, trained(child), child.hparams["num_layers"]) == ("a/0/0/1", ["block_07"], 8)


def test_nothing_goes_on_where_time_affords_a_few_steps_alone(shallow, shallow_agent, build, start):
    """A step of the last block costs 0.033 passes: 400 passes are about 10,000 examples, 600 are 14,500."""
    _, after = advance(build, shallow, shallow_agent, replace(start(), outlook=Outlook(9000, 2000)), 0.5, 0.6)
    short, enough = (replace(after, outlook=Outlook(passes, 2000)) for passes in (400, 600))
    assert shallow_agent.stage(short).children == 0
    assert shallow_agent.stage(enough).children == 1
    assert shallow_agent.stage(replace(enough, outlook=Outlook(600, 2000, workers=2))).children == 2
    assert shallow_agent.stage(replace(short, outlook=Outlook(400, 300))).children == 1, (
        "9,000 examples are thirty passes"
    )
    (child,) = shallow_agent.propose(short, generator(0), 1)
    assert child.parent_id == "a/0/0/1", "a cycle that is resumed repeats what it drew"
    assert shallow_agent.stage(replace(after, outlook=None)).children is None


@pytest.mark.parametrize("agent_name", ["freeze:8", "finetune"])
@pytest.mark.parametrize("passes", [0, 100, 2000, 9500])
@pytest.mark.parametrize("can_drop", [True, False])
def test_a_cycle_trains_something_whatever_earlier_cycles_trained(build, start, agent_name, passes, can_drop):
    anatomy = build.vit(**{**LAST_BLOCK_IS_CHEAP, "min_layers": 1 if can_drop else 12})
    root = build.root(anatomy)
    frozen = 10 if agent_name == "freeze:8" else 0
    own = build.path(anatomy, "a/0/0/0", shared=root.components[:frozen], agent=agent_name)
    population = Population.start("a", root, [own], {own.id: own})
    agent = make_agent("budgeted", anatomy, build.scoring(anatomy))
    outlook = Outlook(passes, 50_000)
    assert agent.stage(replace(population, outlook=outlook)).children == 1
    (child,) = agent.propose(replace(population, outlook=outlook), generator(0), 1)
    assert trained(child)


def test_every_worker_gets_a_window_of_its_own(build, start):
    """Time affords enough of the last two blocks alone: a second worker tries another window, not the same again."""
    anatomy = build.vit(**LAST_BLOCK_IS_CHEAP)
    agent = make_agent("budgeted", anatomy, build.scoring(anatomy))
    for workers in (1, 2):
        population = replace(start(), outlook=Outlook(5000, 2000, workers))
        assert agent.stage(population).children == workers
        windows = [tuple(trained(child)) for child in agent.propose(population, generator(0), workers)]
        assert windows[0] == ("block_10", "block_11")
        assert len(set(windows)) == workers


def test_a_continuation_that_is_as_good_is_not_published(build, shallow, shallow_agent, start):
    _, after = advance(build, shallow, shallow_agent, replace(start(), outlook=Outlook(2500, 2000)), 0.5)
    _, after = advance(build, shallow, shallow_agent, replace(after, outlook=Outlook(600, 2000)), 0.5)
    assert [path.id for path in after.own] == ["a/0/0/0", "a/0/1/0"]
    assert shallow_agent.best(after).id == "a/0/0/0"


SEVERAL_BLOCKS = [
    (["block_06", "block_07", "block_08"], 9),
    (["block_07", "block_08"], 9),
    (["block_06", "block_07"], 8),
    (["block_08", "block_09"], 10),
]


@pytest.mark.parametrize(
    ("passes", "num_train", "workers", "expected"),
    [
        (25_000, 2000, 1, SEVERAL_BLOCKS),  # three blocks learn from 60,000 examples, which are thirty passes
        (22_000, 2000, 1, SEVERAL_BLOCKS[1:]),
        (15_000, 2000, 1, SEVERAL_BLOCKS[1:]),  # 66,000 examples of two blocks at a depth of nine
        (15_000, 500, 1, SEVERAL_BLOCKS),
        (15_000, 2000, 2, SEVERAL_BLOCKS[1:]),
        (10_650, 2000, 1, SEVERAL_BLOCKS[2:3]),  # a lower trunk is cheaper
    ],
)
def test_several_blocks_come_first_where_time_affords_them(shallow_agent, start, passes, num_train, workers, expected):
    population = replace(start(), outlook=Outlook(passes, num_train, workers))
    assert shallow_agent.stage(population).children == min(workers, len(expected))
    children = shallow_agent.propose(population, generator(0), len(expected) + 1)
    found = [(trained(child), child.hparams["num_layers"]) for child in children]
    assert found == [*expected, expected[0]], "no other window is worth its time"
    assert {child.parent_id for child in children} == {"root"}


def test_after_several_blocks_there_are_other_windows_of_several_and_no_single_ones(
    build, shallow, shallow_agent, start
):
    _, after = advance(build, shallow, shallow_agent, replace(start(), outlook=Outlook(1e6, 2000)), 0.5)
    children = shallow_agent.propose(replace(after, outlook=Outlook(15_000, 2000)), generator(0), 4)
    assert [trained(child) for child in children[:3]] == [blocks for blocks, _ in SEVERAL_BLOCKS[1:]]
    assert (children[3].parent_id, trained(children[3])) == ("a/0/0/0", SEVERAL_BLOCKS[0][0])
    (child,) = shallow_agent.propose(replace(after, outlook=Outlook(9000, 2000)), generator(0), 1)
    assert child.parent_id == "a/0/0/0", "a single block would be affordable"


def test_windows_that_end_at_the_best_depth_follow_where_time_affords_them(build, shallow, shallow_agent, start):
    population = replace(start(), outlook=Outlook(10_500, 2000))
    _, after = advance(build, shallow, shallow_agent, population, 0.5, 0.6, 0.4)
    children = shallow_agent.propose(replace(after, outlook=Outlook(1e6, 2000)), generator(0), 6)
    assert [child.parent_id for child in children] == ["root"] * 4 + ["a/0/0/1", "a/0/0/0"]
    windows = [["block_05", "block_06", "block_07"], ["block_06", "block_07"]]
    windows += [["block_07", "block_08"], ["block_08", "block_09"]]
    assert [trained(child) for child in children[:4]] == windows
    assert [child.hparams["num_layers"] for child in children] == [8, 8, 9, 10, 8, 9]
    (child,) = shallow_agent.propose(replace(after, outlook=Outlook(5000, 2000)), generator(0), 1)
    assert child.parent_id == "a/0/0/1", "there is no time for two blocks"


def test_windows_that_end_at_the_best_depth_keep_to_the_bound(build, start):
    """Two of eight blocks are a quarter of the network, three are more."""
    small = build.vit(depth=8, flops=750, block_flops=(*[100] * 7, 10))
    agent = make_agent("budgeted", small, build.scoring(small))
    population = replace(Population.start("a", build.root(small), []), outlook=Outlook(1e6, 2000))
    children = agent.propose(population, generator(0), 4)
    windows = [["block_04", "block_05"], ["block_03", "block_04"], ["block_05", "block_06"]]
    assert [trained(child) for child in children] == [*windows, windows[0]]


@pytest.mark.parametrize("fixed", [(), ("num_layers",)])
@pytest.mark.parametrize("layers", [7, 9, 12])
def test_a_depth_that_the_user_chose_is_the_only_one(build, shallow, start, layers, fixed):
    agent = make_agent("budgeted", shallow, build.scoring(shallow), {"num_layers": layers}, fixed)
    population = replace(start(), outlook=Outlook(1e6, 2000))
    last = f"block_{layers - 1:02d}"
    assert agent.depths() == [Window((last,), layers)]
    for window in agent.windows(population.root):
        assert window.num_layers == layers
        assert window.slots
        assert f"block_{layers:02d}" not in window.slots
    for passes, blocks in ((5000, 1), (1e6, 3)):
        population = replace(population, outlook=Outlook(passes, 2000))
        (child,) = agent.propose(population, generator(0), agent.stage(population).children)
        assert child.hparams["num_layers"] == layers
        assert trained(child) == [f"block_{index:02d}" for index in range(layers - blocks, layers)]


def test_depths_are_no_question_without_time_or_where_no_block_can_be_dropped(build, shallow, shallow_agent, start):
    assert shallow_agent.stage(start()).children is None
    lite = build.lite()
    assert make_agent("budgeted", lite, build.scoring(lite)).depths() == []
    assert make_agent("budgeted", replace(shallow, min_layers=12), build.scoring(shallow)).depths() == []


@pytest.mark.parametrize("passes", [10_500, 1e6, None])
def test_depths_start_from_the_root_whatever_others_learned(build, shallow, shallow_agent, start, passes):
    """A block that another task trained to be the last one of eight makes nothing that a ninth could read."""
    root = build.root(shallow)
    kept = [component for component in root.components if component.slot.name not in ("norm", "block_07")]
    kept = [c for c in kept if c.slot.name not in ("block_08", "block_09", "block_10", "block_11")]
    other = build.path(shallow, "b/0/0/0", shared=kept, hparams={"num_layers": 8}, agent="budgeted")
    population = Population.start("a", root, [other], {"root": root, other.id: other})
    population = replace(population, outlook=None if passes is None else Outlook(passes, 2000))
    assert not shallow_agent.stage(population).is_comparison
    for child in shallow_agent.propose(population, generator(0), 3):
        assert child.parent_id == "root"
        assert {plan.digest for plan in child.slots if plan.slot.kind == "block"} <= set(root.digests)


@pytest.mark.parametrize(("passes", "is_compared"), [(LEAST_PROBED / TRUNK_SHARE, True), (10_000, False)])
def test_trunks_are_compared_only_where_time_shows_each_enough_images(build, deep, agent, start, passes, is_compared):
    other = published(build, deep, "b", build.root(deep), "block_08")
    population = replace(start(other), outlook=Outlook(passes, 2000))
    assert agent.stage(population).is_comparison == is_compared
    (first, second) = agent.propose(population, generator(0), 2)
    assert (first.parent_id, second.parent_id) == ("root", other.id if is_compared else "root")
    assert (trained(first) == []) == is_compared


def test_trunks_of_earlier_tasks_are_compared_by_their_heads(build, deep, agent, start):
    root = build.root(deep)
    live = [published(build, deep, name, root, "block_08", "block_09") for name in "bc"]
    same = published(build, deep, "d", root)
    population = start(*live, same)
    assert agent.trunks(population) == [root, live[1], live[0]]
    stage = agent.stage(population)
    assert stage.children == 3
    assert stage.share < 0.25
    heads, after = advance(build, deep, agent, population, 0.3, 0.2, 0.4)
    assert [trained(head) for head in heads] == [[], [], []]
    assert [head.parent_id for head in heads] == ["root", "c/0/0/0", "b/0/0/0"]
    (child,), _ = advance(build, deep, agent, after, 0.6)
    assert child.parent_id == "a/0/0/2"
    assert trained(child) == ["block_08", "block_09", "block_10"]
    plans = {plan.slot.name: plan for plan in child.slots}
    assert plans["block_08"].digest == live[0].component("block_08").digest
    assert plans["head"].action == "clone"


@pytest.mark.parametrize(("quality", "parent"), [(0.33, "a/0/0/0"), (0.35, "a/0/0/1"), (0.2, "a/0/0/0")])
def test_another_trunk_than_the_roots_must_be_better_by_a_standard_error(build, deep, agent, start, quality, parent):
    population = start(published(build, deep, "b", build.root(deep), "block_08"))
    _, after = advance(build, deep, agent, population, 0.3, quality)
    (child,), _ = advance(build, deep, agent, after, 0.6)
    assert child.parent_id == parent


def test_windows_take_new_statistics_and_nothing_else_does(build, deep, agent, start):
    population = start(published(build, deep, "b", build.root(deep), "block_08"))
    heads, population = advance(build, deep, agent, population, 0.3, 0.2)
    windows, population = advance(build, deep, agent, population, 0.6, 0.5, 0.4)
    going_on, _ = advance(build, deep, agent, population, 0.7)
    flags = [[child.measures_statistics for child in children] for children in (heads, windows, going_on)]
    assert flags == [[False, False], [True, True, True], [False]]


def test_the_number_of_trunks_is_bounded(build, deep, agent, start):
    root = build.root(deep)
    live = [published(build, deep, f"t{number}", root, "block_08") for number in range(9)]
    trunks = agent.trunks(start(*live))
    assert len(trunks) == MAX_TRUNKS
    assert trunks == [root, *reversed(live[-MAX_TRUNKS + 1 :])]


def test_private_trunks_are_not_compared(build, deep, agent, start):
    private = replace(published(build, deep, "b", build.root(deep), "block_08"), is_private=True)
    assert agent.trunks(start(private)) == [build.root(deep)]


def test_a_child_does_not_depend_on_how_many_follow_it(build, deep, agent, start):
    population = start(published(build, deep, "b", build.root(deep), "block_08"))
    _, after = advance(build, deep, agent, population, 0.3, 0.2)
    for one in (population, after):
        few, many = (agent.propose(one, generator(0), n) for n in (1, 3))
        assert many[:1] == few


def test_a_second_cycle_goes_on_with_the_path_of_the_first(build, deep, agent, start):
    root = build.root(deep)
    own = published(build, deep, "a", root, "block_08", "block_09", "block_10")
    population = Population.start("a", root, [own], {own.id: own})
    first, *_, last = agent.propose(population, generator(0), 3)
    assert trained(first) == ["block_07", "block_08", "block_09"]
    assert last.parent_id == own.id


def test_starting_values_of_the_user_hold_for_every_child(build, deep, start):
    agent = make_agent("budgeted", deep, build.scoring(deep), {"opt_lr": 0.02, "ds_flip_left_right": True})
    other = published(build, deep, "b", build.root(deep), "block_08")
    for proposal in agent.propose(start(other), generator(0), 2):
        assert (proposal.hparams["opt_lr"], proposal.hparams["ds_flip_left_right"]) == (0.02, True)


@pytest.mark.parametrize(
    ("changes", "fixed", "expected"),
    [
        ({}, (), {"opt_averaging": 0.0, "opt_lr_schedule": "cosine"}),
        ({"opt_averaging": 0.2}, (), {"opt_averaging": 0.2, "opt_lr_schedule": "cosine"}),
        ({}, ("opt_averaging", "opt_lr_schedule"), {"opt_averaging": 0.1, "opt_lr_schedule": "constant"}),
    ],
)
def test_only_heads_that_tell_trunks_apart_are_not_averaged(build, deep, start, changes, fixed, expected):
    agent = make_agent("budgeted", deep, build.scoring(deep), changes, fixed)
    population = start(published(build, deep, "b", build.root(deep), "block_08"))
    probes, after = advance(build, deep, agent, population, 0.4, 0.5)
    for probe in probes:
        assert trained(probe) == []
        assert {name: probe.hparams[name] for name in expected} == expected
    (window,) = agent.propose(after, generator(0), 1)
    usual = {"opt_lr": 0.1, "opt_lr_schedule": "constant", "opt_averaging": 0.1, "opt_mix_rate": 0.5} | changes
    assert {name: window.hparams[name] for name in usual} == usual


def test_without_augmentation_by_default(agent):
    defaults = agent.space.defaults()
    assert (defaults["ds_area_range_min"], defaults["ds_flip_left_right"]) == (1.0, False)


def test_a_head_alone_is_published_only_where_there_is_nothing_else(build, deep, agent, start):
    population = start(published(build, deep, "b", build.root(deep), "block_08"))
    assert agent.stage(population).validated is not None
    _, heads = advance(build, deep, agent, population, 0.3, 0.9)
    assert agent.best(heads).quality == 0.9
    _, after = advance(build, deep, agent, heads, 0.5)
    assert agent.best(after).quality == 0.5
    assert agent.stage(after).validated is None


def test_a_later_window_is_published_only_where_it_is_clearly_better(build, deep, agent, start):
    """On 128 images, one standard error of 80 % is 3.5 points."""
    _, population = advance(build, deep, agent, start(), 0.80)
    for quality, best in ((0.81, 0.80), (0.86, 0.86)):
        (proposal,), after = advance(build, deep, agent, population, quality)
        assert trained(proposal) != trained(agent.propose(start(), generator(0), 1)[0])
        assert agent.best(after).quality == best
    continued = replace(after, outlook=Outlook(1e6, 2000))
    assert agent.best(continued).quality == 0.86


def test_a_depth_counts_as_it_is_measured(build, shallow, shallow_agent, start):
    """Depths are trained side by side, and none of them is known to be better than another."""
    population = replace(start(), outlook=Outlook(1e6, 2000, 2))
    _, after = advance(build, shallow, shallow_agent, population, 0.80, 0.81)
    assert shallow_agent.best(after).quality == 0.81


@pytest.mark.parametrize("is_best", [True, False])
def test_a_second_cycle_tries_several_blocks_before_the_other_depths(build, shallow, shallow_agent, start, is_best):
    """What the first cycle had no time for comes first, at the best depth that the user allows."""
    _, after = advance(build, shallow, shallow_agent, replace(start(), outlook=Outlook(0, 2000)), 0.5)
    again = Population.start("a", after.root, [after.own[0]], dict(after.lineage))
    changes = {} if is_best else {"num_layers": 10}
    agent = make_agent("budgeted", shallow, build.scoring(shallow), changes)
    (child,) = agent.propose(replace(again, outlook=Outlook(1e6, 2000)), generator(0), 1)
    depth = 9 if is_best else 10
    assert (trained(child), child.hparams["num_layers"]) == ([f"block_{n:02d}" for n in range(depth - 3, depth)], depth)
    assert child.parent_id == "root"
