from __future__ import annotations

import errno
import os
import shutil
import signal

import pytest

from mu2net.errors import BudgetError, ConfigError, DataError, RangeError, StoreError, UnknownNameError
from mu2net.search.budget import Budget
from mu2net.search.events import (
    ChildRecorded,
    CycleStarted,
    GenerationStarted,
    Preparing,
    Published,
    Publishing,
    StopRequested,
)
from mu2net.store.files import Files
from mu2net.store.store import Store
from mu2net.system import System, evolution
from mu2net.train.events import IntervalDone, TrainingStopped


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def interrupted(system, small, **options):
    """Leave a cycle of task ``one`` behind that ended after its first child."""

    def observe(event):
        if isinstance(event, ChildRecorded):
            raise Killed

    with pytest.raises(Killed):
        system.evolve("one", observer=observe, **{**small, **options})


def test_it_returns_the_row_of_the_task(system, small):
    task = system.evolve("one", children=2, **small)
    assert task == system.task("one")
    assert (task.agent, task.children, task.path_id is not None) == ("mu2net", 2, True)


def test_the_seed_is_the_systems_unless_one_is_given(system, small):
    seeds = []
    for seed in (None, 5, 6):
        system.evolve("one", children=1, seed=seed, **small)
        seeds.append(Store.open(system.directory).cycles("one")[-1].seed)
    assert seeds == [5, 5, 6]


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"agent": "mu2nett"}, UnknownNameError, "did you mean 'mu2net'"),
            ({"agent": "freeze"}, ConfigError, "needs a number"),
            ({"agent": "freeze:9"}, ConfigError, "expected freeze:0 to freeze:2"),
            ({"seconds": -1}, ConfigError, "time budget is -1"),
            ({"children": 0}, ConfigError, "children budget is 0"),
            ({"workers": 0}, ConfigError, "workers is 0"),
            ({"threads": 0}, ConfigError, "threads is 0"),
            ({"seed": -1}, ConfigError, "seed is -1"),
            ({"s_size": 0.0}, ConfigError, "s_size is 0.0"),
            ({"s_compute": 1.5}, ConfigError, "s_compute is 1.5"),
            ({"hparams": {"opt_lr": 0.3}}, RangeError, "'opt_lr' is 0.3"),
            ({"hparams": {"opt_lrr": 0.1}}, ConfigError, "opt_lr"),
            ({"precision": "float16"}, UnknownNameError, "unknown precision 'float16'"),
            ({"device": "tpu"}, UnknownNameError, "unknown device 'tpu'"),
        ],
    )
    def test_they_are_clear_errors_that_leave_nothing_behind(self, system, small, options, error, message):
        with pytest.raises(error, match=message):
            system.evolve("one", **{**small, "children": 2, **options})
        store = Store.open(system.directory)
        assert store.cycles("one") == []
        assert system.evolve("one", children=1, **small).path_id

    def test_an_unknown_task_is_named_with_the_closest_match(self, system):
        with pytest.raises(UnknownNameError, match="unknown task 'onne'; did you mean 'one'"):
            system.evolve("onne", children=1)

    def test_a_time_that_is_too_small_publishes_nothing(self, system, small):
        del small["examples_per_validation"]
        with pytest.raises(BudgetError, match=r"nothing was published. Give at least --time \d+s"):
            system.evolve("one", seconds=0.001, **small)
        assert Store.open(system.directory).cycles("one") == []


class TestResume:
    def test_without_options_it_goes_on_with_those_of_the_start(self, system, small):
        interrupted(system, small, agent="munet", children=3)
        system.evolve("one")
        assert {child.agent for child in system.history("one")} == {"munet"}
        assert len(system.history("one")) == 3

    def test_equal_options_may_be_given_again(self, system, small):
        interrupted(system, small, agent="munet", children=3)
        assert system.evolve("one", agent="munet", seed=5, children=4, **small).children == 4

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"agent": "linear"}, "agent 'linear' instead of 'mu2net'"),
            ({"seed": 6}, "seed 6 instead of 5"),
            ({"s_size": 0.5, "batch_size": 8}, "s_size 0.5 instead of 1.0, batch_size 8 instead of 16"),
            ({"hparams": {"opt_lr": 0.05}}, "hparams {'opt_lr': 0.05} instead of {'opt_lr': 0.1}"),
        ],
    )
    def test_options_that_differ_are_an_error(self, system, small, options, said):
        interrupted(system, small, children=3)
        with pytest.raises(ConfigError) as told:
            system.evolve("one", children=3, **options)
        assert said in str(told.value)
        assert "--restart" in str(told.value)
        assert system.evolve("one").children == 3

    def test_the_budget_counts_over_all_runs(self, system, small):
        interrupted(system, small, children=4)
        events = []
        assert system.evolve("one", children=3, observer=events.append).children == 3
        (started,) = [event for event in events if isinstance(event, CycleStarted)]
        assert (started.children_done, started.budget) == (1, Budget(children=3))
        assert started.seconds_done > 0

    def test_restart_gives_it_up_but_keeps_its_children(self, system, small):
        interrupted(system, small, children=3)
        task = system.evolve("one", agent="linear", children=1, restart=True, **small)
        cycles = Store.open(system.directory).cycles("one")
        assert [cycle.state for cycle in cycles] == ["abandoned", "published"]
        assert task.path_id.startswith("one/1/")
        assert [child.id for child in system.history("one")] == ["one/0/0/0", "one/1/0/0", "one/1/0/1"]

    @pytest.mark.parametrize("options", [{"agent": "mu2nett"}, {"seconds": 0.001, "examples_per_validation": None}])
    def test_a_restart_that_fails_gives_up_nothing(self, system, small, options):
        interrupted(system, small, children=3)
        with pytest.raises((UnknownNameError, BudgetError)):
            system.evolve("one", restart=True, **{**small, **options})
        assert Store.open(system.directory).running_cycle("one")
        assert system.evolve("one").children == 3

    def test_restart_without_an_interrupted_cycle_just_starts(self, system, small):
        assert system.evolve("one", children=1, restart=True, **small).path_id == "one/0/0/0"

    def test_cycles_of_other_tasks_do_not_matter(self, system, small):
        interrupted(system, small, children=3)
        assert system.evolve("two", agent="linear", children=1, **small).path_id
        assert system.evolve("one").children == 3


class TestInterrupts:
    def test_the_first_publishes_what_there_is(self, system, small):
        events = []

        def observe(event):
            events.append(event)
            if isinstance(event, IntervalDone) and event.interval == 0 and event.child.endswith("1/0"):
                os.kill(os.getpid(), signal.SIGINT)

        task = system.evolve("one", children=50, observer=observe, handle_interrupts=True, **small)
        assert task.children == 4
        assert StopRequested("interval") in events
        assert [event.path.id for event in events if isinstance(event, Published)] == [task.path_id]
        assert [len(child.validations) for child in system.history("one")] == [2, 2, 1, 1]
        assert Store.open(system.directory).running_cycle("one") is None

    def test_the_second_stops_at_once_and_it_can_go_on(self, system, small, copy_of):
        def observe(event):
            if isinstance(event, IntervalDone) and event.child == "one/0/1/1":
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(TrainingStopped, match="what was recorded before is safe"):
            system.evolve("one", children=4, observer=observe, handle_interrupts=True, **small)
        assert system.task("one").path_id is None
        assert len(system.history("one")) == 2
        system.evolve("one")
        with System.open(copy_of("whole")) as whole:
            whole.evolve("one", children=4, **small)
            assert whole.path("one") == system.path("one")

    @pytest.mark.parametrize("what", ["decoding the images of one", "testing the best path"])
    def test_the_second_also_ends_what_is_not_training(self, system, small, what):
        shutil.rmtree(system.directory / "cache")

        def observe(event):
            if isinstance(event, Preparing) and event.what == what:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(TrainingStopped, match=f"stopped at once while {what}"):
            system.evolve("one", children=2, observer=observe, handle_interrupts=True, **small)
        assert system.evolve("one", children=2, **small).path_id

    def test_unasked_for_a_signal_is_what_it_always_is(self, system, small):
        def observe(event):
            if isinstance(event, GenerationStarted):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            system.evolve("one", children=2, observer=observe, **small)
        assert system.evolve("one").children == 2


class TestFaults:
    def test_a_full_disk_while_publishing_loses_nothing(self, system, small, monkeypatch):
        before, write = system.evolve("two", children=1, **small), Files.write

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        def observe(event):
            if isinstance(event, Publishing):
                monkeypatch.setattr(Files, "write", full)

        with pytest.raises(StoreError, match=r"No space left on device.*nothing was lost.*free some space"):
            system.evolve("one", children=2, observer=observe, **small)
        assert system.task("one").path_id is None
        assert system.task("two") == before
        assert system.verify().is_intact
        monkeypatch.setattr(Files, "write", write)
        assert system.evolve("one").children == 2
        assert system.verify().is_intact

    def test_whoever_runs_last_is_told_about_decoding(self, system, small):
        """The images are kept over calls, but not their observer."""
        first, second = [], []
        shutil.rmtree(system.directory / "cache")
        system.evolve("one", children=1, observer=first.append, **small)
        told = len(first)
        shutil.rmtree(system.directory / "cache")
        system.evolve("one", children=1, observer=second.append, **{**small, "hparams": {"ds_image_size": 12}})
        assert any(isinstance(event, Preparing) and "decoding" in event.what for event in second)
        assert len(first) == told

    def test_other_images_than_at_first_are_refused(self, system, small, pictures, tmp_path):
        folder = pictures(tmp_path / "pictures", seed=8)
        system.add_task("three", folder)
        (folder / "train" / "red" / "0.png").unlink()
        with System.open(system.directory) as again, pytest.raises(DataError, match="restore the source"):
            again.evolve("three", children=1, **small)
        assert Store.open(system.directory).cycles("three") == []

    def test_the_lock_is_free_again_after_an_error(self, system, small):
        with pytest.raises(UnknownNameError):
            system.evolve("one", agent="nobody", children=1)
        with Store.open(system.directory).evolving("one"):
            pass


def test_without_any_budget_a_cycle_takes_ten_minutes(system, small):
    events = []
    interrupted(system, small)
    with pytest.raises(Killed):
        system.evolve("one", observer=lambda event: events.append(event) or stop(event))
    (started,) = [event for event in events if isinstance(event, CycleStarted)]
    assert started.budget == Budget(seconds=evolution.DEFAULT_SECONDS) == Budget(seconds=600)


def stop(event):
    if isinstance(event, CycleStarted):
        raise Killed


def test_there_are_no_more_workers_than_children_of_a_generation(system, small, monkeypatch):
    made = []

    class Watched(evolution.ProcessExecutor):
        def __init__(self, store, task, workers, cache_limit):
            made.append(workers)
            super().__init__(store, task, 1, cache_limit)

    monkeypatch.setattr(evolution, "ProcessExecutor", Watched)
    monkeypatch.setattr(evolution, "default_workers", lambda: 64)
    system.evolve("one", **{**small, "children": 1, "workers": None, "generation_size": 3})
    assert made == [3]
