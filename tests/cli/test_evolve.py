from __future__ import annotations

import json

import pytest

from mu2net.errors import BudgetError
from mu2net.search.events import StopRequested

NOTHING = {
    "agent": None,
    "seconds": None,
    "children": None,
    "examples": None,
    "s_size": None,
    "s_compute": None,
    "seed": None,
    "hparams": None,
    "fixed": None,
    "generation_size": None,
    "batch_size": None,
    "num_validations": None,
    "examples_per_validation": None,
    "precision": None,
    "attention": None,
    "device": None,
    "workers": None,
    "threads": None,
    "views": None,
    "rounding": None,
    "cache_limit": None,
    "restart": False,
    "handle_interrupts": True,
}


def evolved(fake):
    return [arguments for name, arguments in fake.calls if name == "evolve"]


def test_what_is_not_said_is_left_to_the_system(run, fake):
    result = run("evolve", "pets")
    assert result.exit_code == 0
    assert evolved(fake) == [{"name": "pets", **NOTHING}]


def test_everything_that_is_said_is_passed_on(run, fake):
    result = run(
        *("evolve", "pets", "--agent", "freeze:3", "--time", "1h30m", "--children", 8, "--examples", 5000),
        *("--s-size", 0.95, "--s-compute", 0.9, "--seed", 4, "--set", "opt_lr=0.02", "--set", "ds_crop=false"),
        *("--fix", "ds_image_size"),
        *("--generation-size", 2, "--batch-size", 16, "--num-validations", 3, "--examples-per-validation", 100),
        *("--precision", "bfloat16", "--attention", "explicit", "--device", "cpu", "--workers", 3, "--threads", 2),
        *("--views", 2, "--rounding", "bfloat16", "--cache-limit", "1.5GB", "--restart"),
    )
    assert result.exit_code == 0, result.output
    assert evolved(fake) == [
        {
            "name": "pets",
            "agent": "freeze:3",
            "seconds": 5400.0,
            "children": 8,
            "examples": 5000,
            "s_size": 0.95,
            "s_compute": 0.9,
            "seed": 4,
            "hparams": {"opt_lr": 0.02, "ds_crop": False},
            "fixed": ["ds_image_size"],
            "generation_size": 2,
            "batch_size": 16,
            "num_validations": 3,
            "examples_per_validation": 100,
            "precision": "bfloat16",
            "attention": "explicit",
            "device": "cpu",
            "workers": 3,
            "threads": 2,
            "views": 2,
            "rounding": "bfloat16",
            "cache_limit": 1_500_000_000,
            "restart": True,
            "handle_interrupts": True,
        }
    ]


def test_without_names_all_tasks_evolve_in_their_order(run, fake):
    result = run("evolve", "--time", "10m")
    assert [(call["name"], call["seconds"]) for call in evolved(fake)] == [("pets", 600), ("flowers", 600)]
    assert result.stdout.index("pets") < result.stdout.index("flowers")


def test_a_mistyped_name_stops_before_anything_starts(run, fake):
    result = run("evolve", "pets", "flower")
    assert result.exit_code == 2
    assert "did you mean 'flowers'?" in result.stderr
    assert evolved(fake) == []


def test_a_system_without_tasks(run, fake):
    fake.tasks_of_it = []
    result = run("evolve")
    assert result.exit_code == 2
    assert "mu2net add NAME SOURCE" in result.stderr


@pytest.mark.parametrize("wrong", [("--time", "soon"), ("--time", "0"), ("--set", "opt_lr"), ("--cache-limit", "much")])
def test_wrong_values_are_found_before_the_system_opens(run, fake, wrong):
    result = run("evolve", *wrong)
    assert result.exit_code == 2
    assert f"error: {wrong[0]} is '{wrong[1]}'" in result.stderr
    assert fake.calls == []


def test_a_budget_that_is_too_small(run, fake):
    fake.errors["evolve"] = BudgetError("a time budget of 1.0 s is too small; give at least 12s")
    result = run("evolve", "pets", "--time", "1s")
    assert result.exit_code == 2
    assert "give at least 12s" in result.stderr


def test_json_is_the_list_of_summaries_and_progress_goes_to_standard_error(run, fake, recorded):
    fake.events = recorded
    result = run("evolve", "--json")
    answer = json.loads(result.stdout)
    assert [task["name"] for task in answer] == ["pets", "flowers"]
    assert answer[0]["test"] == 0.9375
    assert answer[0]["reused_from"] == {"root": 0.4, "flowers": 0.24}
    assert "published pets/0/1/1" in result.stderr


def test_people_see_progress_and_then_the_leaderboard(run, fake, recorded):
    fake.events = recorded
    result = run("evolve", "pets")
    assert result.stderr == ""
    assert result.stdout.index("published pets/0/1/1") < result.stdout.index("accounted")


def test_after_ctrl_c_no_other_task_starts(run, fake):
    fake.events = [StopRequested("interval"), object()]
    result = run("evolve")
    assert result.exit_code == 0
    assert [call["name"] for call in evolved(fake)] == ["pets"]
    assert "not evolved: flowers" in result.stdout
    assert "finishing this interval, then publishing; press again to stop at once" in result.stdout
