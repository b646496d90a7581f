"""Where children train must not matter: in this process, in one worker or in two. Workers are shared by the tests."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu2net.core.agents import make_agent
from mu2net.core.anatomy import Anatomy, block_slot
from mu2net.core.component import Digest
from mu2net.core.population import Population
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.core.rng import generator
from mu2net.core.score import Scoring
from mu2net.errors import DataError, UnknownComponentError, WorkerError
from mu2net.nn.roots import backbone_from_config
from mu2net.search.executor import LocalExecutor, ProcessExecutor, default_workers, split_jobs
from mu2net.search.images import ACTIVATIONS_NAME, CACHE_NAME, load_recorded_task, open_activations
from mu2net.store.records import TaskRecord
from mu2net.store.store import Store
from mu2net.train.child import ChildJob
from mu2net.train.events import BatchDone, IntervalDone, TrainingStopped
from mu2net.train.group import TrainConfig, TrainGroup
from tests.processes import is_running, wait_until


def make_group(store, size=3, **config):
    """A generation of mutated children of the root, some of which train much and some little."""
    backbone = backbone_from_config(store.config.backbone)
    anatomy = backbone.anatomy
    agent = make_agent("mu2net", anatomy, Scoring(anatomy.num_params, anatomy.flops))
    rng = generator("executor")
    population = agent.begin(Population.start("one", store.root(), ()), rng)
    proposals = agent.propose(population, rng, size)
    jobs = tuple(ChildJob(f"child-{number}", proposal, 3) for number, proposal in enumerate(proposals))
    settings = {"num_validations": 2, "examples_per_validation": 48, "batch_size": 16, "threads": 1, **config}
    return TrainGroup(load_recorded_task(store, "one"), jobs, TrainConfig(**settings), (5, "one", 0, 0), backbone)


def train(executor, *groups, observer=lambda event: None, should_stop=lambda: "no"):
    return {child.id: child for child in executor.submit(groups, observer, should_stop)}


def bits(children):
    return {
        identity: [
            {slot: {name: tensor.numpy().tobytes() for name, tensor in part.items()} for slot, part in parts.items()}
            for parts in (child.tensors, child.momentum)
        ]
        + [child.metrics.validations, child.metrics.examples, child.metrics.extra["train_loss"]]
        for identity, child in children.items()
    }


@pytest.fixture(scope="module")
def shared_store(template, tmp_path_factory):
    return Store.open(shutil.copytree(template, tmp_path_factory.mktemp("executor") / "system"))


@pytest.fixture(scope="module")
def two(shared_store):
    """Two workers; their start is paid for once."""
    with ProcessExecutor(shared_store, "one", 2) as executor:
        yield executor


def pids(executor):
    return [worker.pid for worker in executor._workers]


def test_children_do_not_depend_on_where_they_train(shared_store, two):
    group = make_group(shared_store, 3)
    here = bits(train(LocalExecutor(shared_store), group))
    events = []
    assert bits(train(two, group, observer=events.append)) == here
    intervals = [(event.child, event.interval) for event in events if isinstance(event, IntervalDone)]
    assert sorted(intervals) == [(job.id, interval) for job in group.jobs for interval in range(2)]
    signs = []
    with ProcessExecutor(shared_store, "one", 1) as one:
        assert bits(train(one, group, observer=signs.append)) == here
    assert signs[0] == BatchDone("prepare", -1, 0, 1)


def test_trained_tensors_are_the_callers_own(shared_store, two):
    child = train(two, make_group(shared_store, 1))["child-0"]
    tensor = next(iter(child.tensors["head"].values()))
    tensor += 1
    assert tensor.dtype == torch.float32


def alone(store, name, num_validations):
    """A group of one child."""
    group = make_group(store, 1, num_validations=num_validations)
    job = ChildJob(name, group.jobs[0].proposal, 3)
    return TrainGroup(group.task, (job,), group.config, group.seed_key, group.backbone)


def test_several_groups_are_trained_at_once(shared_store, two):
    trained = train(two, *(alone(shared_store, str(count), count) for count in (1, 2, 3)))
    assert {name: len(child.metrics.validations) for name, child in trained.items()} == {"1": 1, "2": 2, "3": 3}


def test_stop_after_the_interval_also_reaches_groups_that_wait(shared_store, two):
    groups = [alone(shared_store, str(number), 200) for number in range(4)]
    trained = train(two, *groups, should_stop=lambda: "interval")
    assert len(trained) == 4
    assert all(len(child.metrics.validations) < 200 for child in trained.values())


def test_stop_after_the_interval_reaches_workers(shared_store, two):
    seen = []

    def should_stop():
        return "interval" if any(isinstance(event, IntervalDone) for event in seen) else "no"

    group = make_group(shared_store, 2, num_validations=2000)
    trained = train(two, group, observer=seen.append, should_stop=should_stop)
    assert len(trained) == 2
    for child in trained.values():
        assert 1 <= len(child.metrics.validations) < 2000
        assert child.metrics.quality == max(child.metrics.validations)


def test_stop_at_once_reaches_workers_and_they_go_on_with_the_next_group(shared_store, two):
    seen, before = [], pids(two)
    group = make_group(shared_store, 2, num_validations=100_000)
    with pytest.raises(TrainingStopped):
        train(two, group, observer=seen.append, should_stop=lambda: "now" if seen else "no")
    small = make_group(shared_store, 2)
    assert bits(train(two, small)) == bits(train(LocalExecutor(shared_store), small))
    assert pids(two) == before


def test_an_error_of_a_worker_is_raised_here(shared_store, two):
    group = make_group(shared_store, 2)
    plans = tuple(
        SlotPlan(plan.slot, "share", Digest("0" * 64)) if plan.slot.name == "patch_embed" else plan
        for plan in group.jobs[0].proposal.slots
    )
    good = group.jobs[0].proposal
    bad = Proposal(good.parent_id, good.origin, plans, good.hparams)
    jobs = (ChildJob("bad", bad, 3), *group.jobs[1:])
    train(two, make_group(shared_store, 2))  # workers start with the first group, which may be this test's
    before = pids(two)
    assert len(before) == 2
    with pytest.raises(UnknownComponentError, match="0000"):
        train(two, TrainGroup(group.task, jobs, group.config, group.seed_key, group.backbone))
    assert pids(two) == before
    assert set(train(two, group)) == {"child-0", "child-1"}


def test_an_error_that_nobody_foresaw_is_a_clear_one_here_too(shared_store, capfd):
    group = make_group(shared_store, 1)
    good = group.jobs[0].proposal
    hparams = {name: value for name, value in good.hparams.items() if name != "opt_lr"}
    bad = ChildJob("bad", Proposal(good.parent_id, good.origin, good.slots, hparams), 3)
    with ProcessExecutor(shared_store, "one", 1) as one:
        with pytest.raises(WorkerError, match=r"^KeyError: 'opt_lr'; worker process \d+ .* fewer workers") as caught:
            train(one, TrainGroup(group.task, (bad,), group.config, group.seed_key, group.backbone))
        before = pids(one)
        assert set(train(one, group)) == {"child-0"}
        assert pids(one) == before
    assert "Traceback" in caught.value.__notes__[0]
    assert "Traceback" not in capfd.readouterr().err


def environment_of(pid):
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def test_workers_keep_freed_memory_for_the_next_step_unless_the_user_says_otherwise(shared_store, monkeypatch):
    """Memory that glibc returns to the system is cleared anew at the next use, which takes a quarter of a step."""
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with ProcessExecutor(shared_store, "one", 1) as executor:
        train(executor, make_group(shared_store, 1))
        environment = environment_of(*pids(executor))
    assert int(environment["MALLOC_MMAP_THRESHOLD_"]) == 32 * 2**20
    assert environment["MALLOC_TRIM_THRESHOLD_"] == "65536"
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert environment["OMP_NUM_THREADS"] == "1"


def test_a_killed_worker_is_a_clear_error_and_the_next_group_gets_new_ones(shared_store, two):
    train(two, make_group(shared_store, 2))
    group = make_group(shared_store, 2, num_validations=100_000)
    before = pids(two)

    def kill(event):
        if isinstance(event, IntervalDone):
            os.kill(before[0], signal.SIGKILL)

    with pytest.raises(WorkerError, match=rf"process {before[0]} ended with exit code -9 .*fewer workers"):
        train(two, group, observer=kill)
    assert not any(is_running(pid) for pid in before)
    small = make_group(shared_store, 2)
    assert set(train(two, small)) == {"child-0", "child-1"}
    assert not set(pids(two)) & set(before)


def test_a_worker_that_died_between_groups_is_the_same_error(shared_store, two):
    train(two, make_group(shared_store, 2))
    victim = pids(two)[1]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_running(victim))
    with pytest.raises(WorkerError, match=rf"process {victim} ended with exit code -9"):
        train(two, make_group(shared_store, 2))


def test_images_that_changed_are_refused_by_workers(store, pictures, tmp_path):
    task = store.task("one")
    folder = shutil.copytree(task.source["source"], tmp_path / "moved")
    store.add_task(TaskRecord("moved", {**task.source, "source": str(folder)}, task.classes, task.fingerprint))
    assert load_recorded_task(store, "moved").fingerprint == task.fingerprint
    group = make_group(store, 1)
    shutil.rmtree(folder)
    pictures(folder, seed=99)
    with ProcessExecutor(store, "moved", 1) as executor, pytest.raises(DataError, match="'moved' are not those that"):
        train(executor, group)


def test_there_is_at_least_one_worker():
    assert default_workers() >= 1


def an_anatomy(block_flops):
    return Anatomy("vit", (), len(block_flops), (), 32, (32,), 1, sum(block_flops), block_flops=tuple(block_flops))


EVEN = an_anatomy([5] * 6)


def a_job(name, flags):
    """A child whose blocks train or not."""
    plans = tuple(
        SlotPlan(block_slot(index), "clone" if flag else "share", Digest("0" * 64)) for index, flag in enumerate(flags)
    )
    return ChildJob(name, Proposal("root", "root", plans, {}), 3)


def work(job):
    flags = [plan.is_trainable for plan in job.proposal.slots]
    own = flags[flags.index(True) :] if any(flags) else []
    return 1 + 2 * len(own) + sum(own)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=12), st.integers(1, 5))
def test_split_jobs_deals_out_every_child_once_and_fairly(flags, parts):
    jobs = [a_job(str(number), each) for number, each in enumerate(flags)]
    groups = split_jobs(jobs, parts, EVEN)
    assert len(groups) == min(parts, len(jobs))
    assert sorted(job.id for group in groups for job in group) == sorted(job.id for job in jobs)
    loads = [sum(work(job) for job in group) for group in groups]
    assert min(loads) > 0
    heaviest = groups[loads.index(max(loads))]
    assert max(loads) - min(loads) <= max(work(job) for job in heaviest)


def test_children_change_places_until_no_swap_brings_the_workers_closer():
    """Dealt out by cost alone, they would be 19 + 16 + 13 + 10 against 19 + 16 + 13."""
    top = [a_job(str(number), [False] * (6 - length) + [True] * length) for number, length in enumerate((6, 6, 5, 5))]
    rest = [a_job(str(4 + number), [False] * (6 - length) + [True] * length) for number, length in enumerate((4, 4, 3))]
    loads = [sum(work(job) for job in group) for group in split_jobs([*top, *rest], 2, EVEN)]
    assert sorted(loads) == [52, 54]


def test_children_are_split_by_what_their_blocks_cost():
    """A block of ten times the FLOPs weighs more than three others."""
    uneven = an_anatomy([10, 1, 1, 1, 1, 10])
    costly = a_job("costly", [False] * 5 + [True])
    cheap = [a_job(str(number), [False] * 5 + [False]) for number in range(3)]
    (alone,) = [group for group in split_jobs([costly, *cheap], 2, uneven) if costly in group]
    assert alone == (costly,)


def test_children_of_equal_time_are_split_by_their_number():
    jobs = [a_job("deep", [True] * 6), *(a_job(str(number), [False] * 5 + [True]) for number in range(5))]
    assert [len(part) for part in split_jobs(jobs, 2, EVEN)] != [3, 3]
    assert [len(part) for part in split_jobs(jobs, 2, EVEN, are_timed=True)] == [3, 3]


@pytest.mark.parametrize(("is_comparison", "seconds", "parts"), [(True, 30.0, 1), (True, None, 2), (False, 30.0, 2)])
def test_children_that_are_compared_in_a_time_train_on_one_worker(shared_store, two, is_comparison, seconds, parts):
    group = make_group(shared_store, 3, seconds=seconds, is_comparison=is_comparison)
    found = two._parts(group)
    assert len(found) == parts
    assert sorted(job.id for part in found for job in part) == [job.id for job in group.jobs]


PLAIN = {"ds_crop": False, "ds_flip_left_right": False}


def activations(store):
    return sorted((store.directory / CACHE_NAME / ACTIVATIONS_NAME).glob("*.activations"))


def test_workers_keep_activations_for_each_other_and_nothing_depends_on_it(store):
    """Workers of one run fill the same files at the same time; those of a second one read them."""
    group = make_group(store, 3)
    expected = bits(train(LocalExecutor(store), group))
    found = []
    for limit, workers in ((None, 2), (10**9, 1)):
        with ProcessExecutor(store, "one", workers, limit) as executor:
            assert bits(train(executor, group)) == expected
        found.append(activations(store))
    assert found[0]
    assert found[1] == found[0]
    assert open_activations(store, 0) is None
    assert activations(store) == []  # a limit holds for what is there


def test_what_a_worker_warns_of_is_logged_here_once(store, caplog):
    with ProcessExecutor(store, "one", 2, cache_limit=1) as executor:
        train(executor, make_group(store, 2))
    said = [record.getMessage() for record in caplog.records if "--cache-limit" in record.getMessage()]
    assert len(said) == 1
    assert activations(store) == []
