from __future__ import annotations

import json


def test_provenance_names_every_task_and_every_component(run, fake):
    text = run("provenance", "pets").stdout
    assert "data of these tasks shaped pets: flowers, pets; it began at the root efficientnet-lite0" in text
    norm = next(line for line in text.splitlines() if "norm" in line)
    for part in ("bbbbbbbb", "pets", "pets/0/1/2", "mu2net", "2026-11-01 12:30", "dddddddd ← eeeeeeee"):
        assert part in norm
    assert "was removed" not in text


def test_provenance_says_where_a_removed_task_is_still_built_on(run, fake):
    fake.removed = ("flowers",)
    assert "task flowers was removed, without --with-influence" in run("provenance", "pets").stdout


def test_provenance_as_json_is_for_audits(run, fake):
    found = json.loads(run("provenance", "pets", "--json").stdout)
    assert found["influence"] == ["flowers", "pets"]
    assert found["root"] == "efficientnet-lite0"
    assert found["slots"][1]["origins"][0] == {
        "path": "pets/0/1/2",
        "task": "pets",
        "agent": "mu2net",
        "version": "0.1.0",
        "at": "2026-11-01T12:30:00+00:00",
        "source": "d" * 64,
        "mutation": "clone:norm",
        "influence": ["flowers", "pets"],
    }


def test_removing_says_first_what_it_would_do(run, fake):
    result = run("remove", "flowers", "--with-influence")
    assert result.exit_code == 0
    assert "task flowers would be removed" in result.stdout
    assert "path pets/0/1/2 of pets would be retired" in result.stdout
    assert "cycle 3 of flowers would be ended" in result.stdout
    assert "nothing was changed; add --yes" in result.stdout
    assert "remove" not in [name for name, _ in fake.calls]


def test_removing_and_taking_it_back(run, fake):
    result = run("remove", "flowers", "--yes")
    assert "task flowers was removed" in result.stdout
    assert "mu2net undo" in result.stdout
    assert ("remove", {"name": "flowers", "with_influence": False}) in fake.calls
    assert "without a path" not in result.stdout
    assert "path flowers/0/0/0 of flowers is live again" in run("undo").stdout
    assert json.loads(run("undo", "--json").stdout)["task"] == "flowers"


def test_tasks_that_lose_their_path_can_be_evolved_again(run, fake):
    result = run("remove", "flowers", "--with-influence", "--yes", "--re-evolve", "--time", "5m", "--agent", "budgeted")
    assert result.exit_code == 0, result.stderr
    assert "1 task without a path now: pets" in result.stdout
    ((_, call),) = [entry for entry in fake.calls if entry[0] == "evolve"]
    assert (call["name"], call["seconds"], call["agent"]) == ("pets", 300.0, "budgeted")
    found = json.loads(run("remove", "flowers", "--with-influence", "--json").stdout)
    assert (found["is_done"], found["re_evolved"]) == (False, [])


def test_evolving_again_needs_influence_and_yes(run, fake):
    for options in (("--re-evolve",), ("--re-evolve", "--yes"), ("--re-evolve", "--with-influence")):
        result = run("remove", "flowers", *options)
        assert (result.exit_code, "--re-evolve goes with" in result.stderr) == (2, True)
    assert fake.calls == []
