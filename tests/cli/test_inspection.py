from __future__ import annotations

import json

from mu2net.core.agents import AGENTS


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_the_leaderboard_has_all_facts(run, fake):
    text = run("tasks").stdout
    header = row(text, "task")
    facts = {
        "classes": "2",
        "val %": "96.00",
        "test %": "93.75",
        "added": "1.23 M",
        "accounted": "2.35 M",
        "FLOPs": "390 M",
        "reused": "64 %",
    }
    line = row(text, "pets")
    for column, fact in facts.items():
        assert line[: header.index(column) + len(column)].endswith(fact), column
    assert line[header.index("from") :].strip() == "root 40%, flowers 24%"


def test_the_leaderboard_says_what_was_never_evolved_and_what_is_private(run, fake):
    from dataclasses import replace

    fake.tasks_of_it = [replace(fake.unevolved, is_private=True)]
    line = row(run("tasks").stdout, "pets")
    assert "private" in line
    assert "not evolved yet" in line
    assert "%" not in line


def test_the_leaderboard_fits_a_terminal_of_80_columns(run, fake):
    text = run("tasks", env={"COLUMNS": "80"}).stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    line = row(text, "flowers  ")
    assert line.split() == [
        "flowers",
        "3",
        "96.00",
        "93.75",
        "1.23",
        "M",
        "2.35",
        "M",
        "390",
        "M",
        "64",
        "%",
        "root",
        "64%",
    ]


def test_no_task_yet(run, fake):
    fake.tasks_of_it = []
    assert "mu2net add NAME SOURCE" in run("tasks").stdout
    assert json.loads(run("tasks", "--json").stdout) == []


def test_tasks_as_json(run, fake):
    answer = json.loads(run("tasks", "--json").stdout)
    assert [task["name"] for task in answer] == ["pets", "flowers"]
    assert answer[0]["accounted_params"] == 2_345_678.5


def test_show_tells_for_every_slot_whose_component_it_is(run, fake):
    text = run("show", "pets").stdout
    assert row(text, "stem").split() == ["stem", "stem", "root", "1.00", "k", "pets,", "flowers", "a" * 12]
    assert row(text, "block_00").split()[2] == "flowers"
    assert row(text, "head").split()[2] == "pets"
    assert "root 1.00 k (4 %) · flowers 20.0 k (83 %) · pets 3.00 k (12 %)" in text
    assert "pets/0/1/2 ← flowers/0/0/1 ← root" in text
    assert "opt_lr=0.02, ds_crop=true" in text
    assert row(text, "mutations").split(maxsplit=1)[1].strip() == "clone block_00 block_01, opt_lr 0.01→0.02"


def test_show_as_json(run, fake):
    answer = json.loads(run("show", "pets", "--json").stdout)
    assert [slot["trained_by"] for slot in answer["slots"]] == ["root", "flowers", "pets"]
    assert answer["lineage"] == ["flowers/0/0/1", "root"]


def test_history_lists_every_child_and_marks_the_live_one(run, fake):
    text = run("history", "pets").stdout
    assert "no" in row(text, "pets/0/0/0").split()
    live = row(text, "pets/0/1/2")
    for fact in ("●", "root", "96.00 %", "24.0 k", "1,800", "1m15s", "yes", "opt_lr 0.01→0.02"):
        assert fact in live
    assert "2 children of agent mu2net, 1 kept" in text


def test_on_a_narrow_terminal_the_mutations_of_history_get_their_own_table(run, fake):
    lines = run("history", "pets", env={"COLUMNS": "80"}).stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    live = [line for line in lines if line.startswith("pets/0/1/2 ●")]
    assert len(live) == 2, "no row is broken"
    assert "1m15s" in live[0]
    assert live[1].endswith("clone block_00 block_01, opt_lr 0.01→0.02")


def test_history_as_json(run, fake):
    answer = json.loads(run("history", "pets", "--json").stdout)
    assert [child["is_live"] for child in answer] == [False, True]
    assert answer[1]["mutations"][0] == {"name": "hp:opt_lr", "before": 0.01, "after": 0.02, "is_forced": False}


def test_history_of_a_task_without_children(run, fake):
    fake.history = lambda self, name: []
    assert "mu2net evolve pets" in run("history", "pets").stdout


def test_agents_need_no_system(run, fake, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    text = run("agents").stdout
    for name, description in AGENTS.items():
        assert row(text, f"{name} ").strip().endswith(description)
    assert [agent["name"] for agent in json.loads(run("agents", "--json").stdout)] == list(AGENTS)
