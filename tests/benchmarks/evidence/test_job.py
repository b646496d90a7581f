from __future__ import annotations

import os
import signal
import sys
import types
from dataclasses import dataclass, replace

import pytest

from benchmarks.evidence import job
from benchmarks.evidence.job import run_plan
from benchmarks.evidence.keys import Condition
from benchmarks.evidence.plans import Plan, Run
from benchmarks.evidence.records import Failure, Result, record_from_json
from mu2net.errors import BudgetError

CONDITION = Condition(examples=192, hparams=(("opt_lr", 0.02),))


@dataclass(frozen=True)
class LoraResult:
    test: float = 0.75
    num_test: int = 30
    validation: float = 0.8
    added_params: int = 300
    flops: int = 1000
    seconds: float = 1.5
    examples: int = 192
    lr: float = 0.05


@pytest.fixture
def plan(root, tasks, tmp_path):
    run = Run("table", root, "lora:4", 3, ("snow", "noise"), CONDITION)
    return Plan(run, tmp_path / "run", {name: tasks / name for name in run.tasks}, jobs=2)


@pytest.fixture
def lora(monkeypatch):
    """Stands for ``benchmarks.lora``; its calls are kept, and its answers can be replaced by errors."""
    calls, errors = [], {}

    def run_lora(root, task_source, work, **options):
        calls.append((root, task_source, work.is_dir(), options))
        if task_source.name in errors:
            raise errors[task_source.name]
        return LoraResult()

    module = types.SimpleNamespace(run_lora=run_lora, calls=calls, errors=errors)
    monkeypatch.setitem(sys.modules, "benchmarks.lora", module)
    return module


def records(plan):
    lines = []
    is_good = run_plan(plan, lines.append)
    notes = [line["text"] for line in lines if line["kind"] == "note"]
    return is_good, [record_from_json(line) for line in lines if line["kind"] != "note"], notes


def test_a_low_rank_adaptation_is_asked_for_in_equal_terms(plan, root, tasks, lora):
    is_good, found, _ = records(plan)
    assert is_good
    options = {"rank": 4, "seconds": None, "examples": 192, "seed": 3, "image_size": None, "hparams": {"opt_lr": 0.02}}
    assert lora.calls == [(root.spec, tasks / name, True, options) for name in ("snow", "noise")]
    assert [result.key for result in found] == [plan.run.key("snow"), plan.run.key("noise")]
    assert {(result.test, result.num_test, result.added_params) for result in found} == {(0.75, 30, 300)}
    assert found[0].root_params == root.anatomy().num_params
    assert found[0].hparams == {"opt_lr": 0.05}
    assert found[0].wall_seconds >= 0


def test_what_the_ledger_has_is_not_done_again(plan, lora):
    _, found, _ = records(replace(plan, known=("snow",)))
    assert [result.key.task for result in found] == ["noise"]
    assert len(lora.calls) == 1


def test_a_task_that_fails_is_recorded_and_independent_ones_go_on(plan, lora, capsys):
    lora.errors["snow"] = ZeroDivisionError("no luck")
    is_good, found, _ = records(plan)
    assert not is_good
    failure, result = found
    assert isinstance(failure, Failure)
    assert (failure.key, failure.error) == (plan.run.key("snow"), "ZeroDivisionError: no luck")
    assert isinstance(result, Result)
    assert result.key.task == "noise"
    assert "Traceback" in capsys.readouterr().err


def test_an_error_on_purpose_is_recorded_in_its_own_words(plan, lora):
    lora.errors["noise"] = BudgetError("too small; give more")
    _, found, _ = records(plan)
    assert found[1].error == "too small; give more"


def test_a_sequence_ends_with_the_task_that_fails(plan):
    run = replace(plan.run, agent="nobody")
    is_good, found, notes = records(replace(plan, run=run))
    assert not is_good
    (failure,) = found
    assert failure.key == run.key("snow")
    assert "unknown agent 'nobody'" in failure.error
    assert notes == []


def test_a_sequence_whose_system_is_gone_starts_anew_and_says_so(plan):
    run = replace(plan.run, agent="nobody")
    _, (failure,), (note,) = records(replace(plan, run=run, known=("snow",)))
    assert failure.key.task == "snow"
    assert str(plan.folder) in note
    assert "starting anew" in note


def test_a_job_ends_when_the_process_that_started_it_is_gone(monkeypatch):
    parents, sent = [7, 7, 1], []
    monkeypatch.setattr(job.os, "getppid", lambda: parents.pop(0))
    monkeypatch.setattr(job.os, "kill", lambda process, number: sent.append((process, number)))
    monkeypatch.setattr(job.os, "_exit", lambda code: sent.append(code))
    monkeypatch.setattr(job.time, "sleep", lambda _: None)
    job._watch(7)
    assert parents == []
    assert sent == [(os.getpid(), signal.SIGINT), 1]
