"""Mutation testing, of a program of two functions."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks.trust.mutation import Mutated, measure_mutation

PROGRAM = """
def add(a, b):
    return a + b


def double(a):
    return a * 2


def unused(a):
    return a - 1
"""
TESTS = """
from little.numbers import add, double


def test_add():
    assert add(1, 2) == 3


def test_double_of_two():
    assert double(2) == 4
"""


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    for name, text in {
        "src/little/__init__.py": "",
        "src/little/numbers.py": PROGRAM,
        "tests/test_numbers.py": TESTS,
        "pyproject.toml": "[tool.pytest.ini_options]\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    return folder


def measure(tmp_path, repository, count):
    return measure_mutation(tmp_path / "mutants", count, repository=repository, mutate="src/little", tests=["tests"])


def test_noticed_and_untested_changes_are_told_apart(tmp_path, repository):
    """A larger sample goes on with a smaller one; of another program nothing is taken over."""
    first = measure(tmp_path, repository, 2)
    assert first.sample == 2
    (repository / "tests" / "test_numbers.py").write_text(TESTS + "    assert double(3) == 6\n")
    with pytest.raises(RuntimeError, match=r"made of another program: delete it"):
        measure(tmp_path, repository, 2)
    (repository / "tests" / "test_numbers.py").write_text(TESTS)
    mutated = measure(tmp_path, repository, 1000)
    assert mutated.sample == mutated.mutants == sum(mutated.outcomes.values()) > 4
    assert mutated.outcomes["no tests"] >= 2
    assert {name.split("x_")[1].split("__")[0] for name in mutated.unnoticed} == {"unused"}
    assert mutated.score == 1 - mutated.outcomes["no tests"] / mutated.mutants
    assert set(first.unnoticed) <= set(mutated.unnoticed)


def test_tests_that_fail_without_a_change_are_no_measurement(tmp_path, repository):
    (repository / "tests" / "test_numbers.py").write_text(TESTS.replace("== 3", "== 4"))
    with pytest.raises(RuntimeError, match="assert 3 == 4"):
        measure(tmp_path, repository, 1)


def test_interval_is_that_of_wilson():
    """Values of the worked example 81 of 263 in Newcombe 1998, "Two-sided confidence intervals", method 3."""
    noticed = Mutated(1000, 263, {}, tuple(map(str, range(263 - 81))))
    assert noticed.interval() == pytest.approx((0.2553, 0.3662), abs=5e-5)
