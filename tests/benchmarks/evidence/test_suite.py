"""The whole of it, through processes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from benchmarks import suite
from benchmarks.evidence import session
from benchmarks.evidence.job import run_plan
from benchmarks.evidence.keys import Key
from benchmarks.evidence.ledger import Ledger
from benchmarks.evidence.records import Check, Result
from benchmarks.evidence.session import Session
from benchmarks.load import ForeignLoad

ROOT = "tiny=vit:dim=16,depth=2,heads=2,patch=8,image=16"


@pytest.fixture
def run(tasks, tmp_path, capsys):
    """Runs the command; returns its exit code, what it printed, and the ledger."""

    def run(*agents):
        options = ["--roots", ROOT, "--examples", "192", "--agents", *agents, "--fix", "ds_image_size"]
        places = ["--tasks", tasks, "--work", tmp_path / "work", "--output", tmp_path / "out" / "small.json"]
        code = suite.main([*options, *map(str, places)])
        return code, capsys.readouterr().out, Ledger(tmp_path / "out" / "small.jsonl")

    return run


class PoolInThisProcess:
    """Does the work of ``Pool`` without starting processes, which takes seconds."""

    def __init__(self, jobs, hear, end):
        self.hear, self.end = hear, end

    def run(self, plans):
        for plan in plans:
            is_good = run_plan(plan, partial(self.hear, plan))
            self.end(plan, 0 if is_good else 1)


def interrupt_after_first_result(monkeypatch):
    hear = Session._hear

    def interrupt(self, plan, line):
        hear(self, plan, line)
        if line["kind"] == "result":
            raise KeyboardInterrupt

    monkeypatch.setattr(Session, "_hear", interrupt)


@pytest.mark.thorough
def test_runs_fail_and_go_on_and_are_never_done_twice(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after_first_result(patch)
        code, said, ledger = run("mu2net")
    assert code == 130
    assert "the same command goes on" in said
    (first,) = ledger.records
    assert isinstance(first, Result)

    with monkeypatch.context() as patch:
        patch.setattr(session, "misfit", lambda *_: None)
        code, said, ledger = run("mu2net", "linear", "nobody")
    assert code == 1
    assert "FAILED table tiny nobody" in said
    assert ledger.records[0] == first
    check_records(ledger, first)
    left = {folder.parent.name.split("-")[2] for folder in (tmp_path / "work").glob("*/system")}
    assert left == {"mu2net", "nobody"}
    assert not list((tmp_path / "work").glob("*-mu2net-*/system/cache"))
    check_figures(tmp_path / "out" / "small.json")

    second = next(one for one in ledger.results().values() if one.key.agent == "mu2net" and one != first)
    forget(tmp_path / "out" / "small.jsonl", second.key, replace(second.key, task=""))
    monkeypatch.setattr(session, "Pool", PoolInThisProcess)
    code, said, ledger = run("mu2net", "linear")
    assert code == 0
    assert "is not complete" in said
    assert "the record is made from the system" in said
    again = ledger.results()[second.key]
    assert again.is_recovered
    assert (again.test, again.added_params, again.seconds) == (second.test, second.added_params, second.seconds)
    assert again.seconds <= again.wall_seconds <= second.wall_seconds + 0.1
    assert isinstance(ledger.records[-1], Check)

    count = len(ledger.records)
    code, said, ledger = run("mu2net", "linear")
    assert (code, len(ledger.records)) == (0, count)
    assert "2 of them done already" in said


def check_records(ledger, first):
    """Check the ledger of two agents of which one evolves, and of one that does not exist."""
    (failure,) = ledger.failures().values()
    assert "unknown agent 'nobody'" in failure.error
    results = list(ledger.results().values())
    pairs = [(agent, task) for agent in ("linear", "mu2net") for task in ("noise", "snow")]
    assert sorted((result.key.agent, result.key.task) for result in results) == pairs
    (check,) = ledger.checks().values()
    assert (check.changed_logits, check.is_conclusive, len(check.key.order)) == (0, True, 2)
    assert check.num_logits > 0
    second = next(result for result in results if result.key.agent == "mu2net" and result != first)
    assert (first.key.position, second.key.position) == (0, 1)
    assert set(second.sources) <= {"root", first.key.task, second.key.task}
    assert sum(second.sources.values()) == second.num_params
    assert second.added_params == second.sources[second.key.task]
    assert set(second.slots) >= {"patch_embed", "norm", "head"}
    assert second.examples <= 192
    assert second.disk_bytes > first.disk_bytes
    if ForeignLoad().share() is None:  # a machine that keeps no account of its processors
        assert second.foreign_load is None
    else:
        assert 0 <= second.foreign_load <= 1


def check_figures(file):
    written = json.loads(file.read_text())
    assert written["figures"]["changed_logits"] == 0
    assert set(written["figures"]) >= {"gain", "gain_tiny", "added_parameters", "worse_than_linear"}
    assert "hours" not in written["figures"]
    assert sorted(run["kind"] for run in written["runs"]) == ["check", "failure", *["result"] * 4]


def forget(file, *keys):
    """Take the records of some keys out of a ledger, and tear what is then its last line."""
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if Key.from_json(json.loads(line)["key"]) not in keys]
    assert len(kept) == len(lines) - len(keys)
    file.write_bytes(b"".join(kept) + lines[-1][:40])


def test_a_mistyped_agent_is_named(tasks, tmp_path, capsys):
    options = ["--roots", ROOT, "--agents", "mu3net", "--work", tmp_path / "work", "--output", tmp_path / "out.json"]
    assert suite.main([*map(str, options), "--tasks", str(tasks)]) == 2
    assert "unknown agent 'mu3net'" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_a_report_without_records_says_what_is_missing(tmp_path, capsys):
    assert suite.main(["--report", "--output", str(tmp_path / "out.json")]) == 0
    assert "has no table for 120 s per task" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["figures"] == {}
