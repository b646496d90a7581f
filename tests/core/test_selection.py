from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.rng import generator
from mu2net.core.selection import count_picks, decay_pick, rotated_past, uniform_pick

DRAWS = 4000


def paths(build, anatomy, count):
    return [build.path(anatomy, f"a/0/0/{i}") for i in range(count)]


@pytest.mark.parametrize("picked", [0, 1, 2, 3])
def test_a_candidate_is_accepted_with_half_to_the_power_of_its_picks(build, vit, picked):
    rng = generator("decay", picked)
    (only,) = paths(build, vit, 1)
    accepted = sum(decay_pick([only], {only.id: picked}, rng) is only for _ in range(DRAWS))
    p = 0.5**picked
    assert abs(accepted - DRAWS * p) <= 5 * (DRAWS * p * (1 - p)) ** 0.5


def test_candidates_are_walked_in_order_and_the_first_accepted_wins(build, vit):
    rng = generator("order")
    best, middle, last = candidates = paths(build, vit, 3)
    picks = {best.id: 1, middle.id: 2}
    found = Counter(decay_pick(candidates, picks, rng).id for _ in range(DRAWS))
    for path, p in ((best, 1 / 2), (middle, 1 / 8), (last, 3 / 8)):
        assert abs(found[path.id] - DRAWS * p) < 5 * (DRAWS * p * (1 - p)) ** 0.5


@given(st.integers(0, 1000))
def test_a_candidate_that_was_never_picked_is_always_accepted(build, vit, seed):
    first, second = paths(build, vit, 2)
    assert decay_pick([first, second], {second.id: 5}, generator(seed)) is first


def test_all_may_be_refused(build, vit):
    candidates = paths(build, vit, 2)
    assert decay_pick(candidates, {path.id: 2000 for path in candidates}, generator(0)) is None
    assert decay_pick([], {}, generator(0)) is None


def test_uniform_picks_are_uniform(build, vit):
    rng = generator("uniform")
    candidates = paths(build, vit, 4)
    found = Counter(uniform_pick(candidates, rng).id for _ in range(DRAWS))
    assert all(abs(found[path.id] - DRAWS / 4) < 5 * (DRAWS * 3 / 16) ** 0.5 for path in candidates)
    with pytest.raises(ValueError, match="no candidate"):
        uniform_pick([], rng)


@given(st.lists(st.text("abc", max_size=2), min_size=1, unique=True), st.data())
def test_a_queue_rotates_past_the_pick(queue, data):
    pick = data.draw(st.sampled_from(queue))
    rotated = rotated_past(queue, pick)
    assert rotated[-1] == pick
    assert Counter(rotated) == Counter(queue)
    start = queue.index(rotated[0])
    assert rotated == (*queue[start:], *queue[:start])


def test_rotating_past_an_unknown_entry_is_an_error():
    with pytest.raises(ValueError):
        rotated_past(["a"], "b")


def test_earlier_picks_count_per_task_and_agent(build, vit):
    a, b, other_task = (build.path(vit, path_id, parent="x") for path_id in ("a/0/0/0", "a/1/0/0", "b/0/0/0"))
    baseline, orphan = replace(a, agent="linear"), replace(a, parent_id=None)
    recorded = [a, b, replace(b, parent_id="y"), other_task, baseline, orphan]
    assert count_picks(recorded, "a", "mu2net") == {"x": 2, "y": 1}
