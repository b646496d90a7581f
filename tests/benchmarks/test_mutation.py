"""Mutation testing, of a program of two functions, one of which nobody tests."""

from __future__ import annotations

import json
import subprocess

import pytest
from alembic.script import ScriptDirectory

from benchmarks.trust import mutation
from benchmarks.trust.mutant_tests import Record, that_may_notice
from benchmarks.trust.mutation import Mutated, as_imported, measure_mutation
from mu2net.store.migrate import alembic_config

PROGRAM = """
def add(a, b):
    return a + b


def twice(a):
    return 2 * a


def thrice(a):
    return 3 * a


def unused(a):
    return not a
"""
TESTS = """
import subprocess
import sys

import pytest

from little.numbers import add, twice


@pytest.fixture(scope="module")
def four():
    return twice(2)


def test_add():
    assert add(1, 2) == 3


def test_fixture_is_a_number(four):
    assert isinstance(four, int)


def test_fixture_is_four(four):
    assert four == 4


def test_another_process():
    code = "from little.numbers import thrice; print(thrice(2))"
    assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout) == 6
"""


SLOW = """
import time
from little.numbers import add


def test_add():
    time.sleep(0 if add(1, 2) == 3 else 600)
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


@pytest.mark.thorough
def test_noticed_and_unnoticed_changes_are_told_apart(tmp_path, repository, monkeypatch):
    """A larger sample goes on with a smaller one; of another program nothing is taken over."""
    first = measure(tmp_path, repository, 1)
    assert first.sample == 1
    (repository / "tests" / "test_numbers.py").write_text(TESTS + "    assert True\n")
    with pytest.raises(RuntimeError, match=r"made of another program: delete"):
        measure(tmp_path, repository, 1)
    (repository / "tests" / "test_numbers.py").write_text(TESTS)
    mutated = measure(tmp_path, repository, 1000)
    assert mutated.sample == mutated.mutants == sum(mutated.outcomes.values()) >= 2
    assert set(mutated.outcomes) == {"killed", "survived"}
    assert {name.split("x_")[1].split("__")[0] for name in mutated.unnoticed} == {"unused"}
    assert mutated.score == pytest.approx(mutated.outcomes["killed"] / mutated.mutants)
    assert set(first.unnoticed) <= set(mutated.unnoticed)
    monkeypatch.setattr(mutation, "_Servers", lambda *_: pytest.fail("all of them are known"))
    assert measure(tmp_path, repository, 1000) == mutated


@pytest.mark.thorough
def test_tests_of_a_function_are_those_that_call_it_or_start_a_process(tmp_path, repository):
    """Also through a fixture that another test shares; the fastest come first, and those with a process last."""
    measure(tmp_path, repository, 1)
    records = [Record(**found) for found in json.loads((tmp_path / "mutants" / "tests.json").read_text())]
    assert [record.seconds for record in records] == sorted(record.seconds for record in records)

    def chosen(function):
        found = that_may_notice(records, f"little.numbers.x_{function}")
        return [record.test.partition("::")[2] for record in found]

    assert chosen("add") == ["test_add", "test_another_process"]
    assert set(chosen("twice")[:2]) == {"test_fixture_is_a_number", "test_fixture_is_four"}
    assert chosen("twice")[2:] == chosen("thrice") == chosen("unused") == ["test_another_process"]


@pytest.mark.thorough
def test_a_change_that_never_ends_is_noticed(tmp_path, repository, monkeypatch):
    (repository / "tests" / "test_numbers.py").write_text(SLOW)
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    monkeypatch.setattr(mutation, "_FASTEST", 8.0)
    monkeypatch.setattr(mutation, "_PATIENCE", 0.0)
    assert "timed out" in measure(tmp_path, repository, 1000).outcomes


@pytest.mark.thorough
def test_tests_that_fail_without_a_change_are_no_measurement(tmp_path, repository):
    (repository / "tests" / "test_numbers.py").write_text(TESTS.replace("== 3", "== 4"))
    with pytest.raises(RuntimeError, match="assert 3 == 4"):
        measure(tmp_path, repository, 1)


@pytest.mark.thorough
def test_tests_that_fail_where_mutants_are_tried_are_no_measurement(tmp_path, repository):
    """There, and nowhere else: the run that tells which tests call what goes well."""
    check = "import os\nassert 'MUTANT_UNDER_TEST' not in os.environ\n"
    (repository / "tests" / "test_numbers.py").write_text(check + TESTS)
    with pytest.raises(RuntimeError, match="tests fail without a change where mutants are tried: killed"):
        measure(tmp_path, repository, 1)
    assert not (tmp_path / "mutants" / "outcomes.json").exists(), "nothing of it is taken over later"


def test_revisions_have_the_names_by_which_alembic_imports_them():
    scripts = ScriptDirectory.from_config(alembic_config())
    modules = {script.module.__name__ for script in scripts.walk_revisions()}
    assert "r0001_registry_py" in modules
    mutant = "mu2net.store.migrations.versions.r0001_registry.x_upgrade__mutmut_3"
    assert as_imported(mutant) == "r0001_registry_py.x_upgrade__mutmut_3"
    assert as_imported("mu2net.store.codec.x_f__mutmut_1") == "mu2net.store.codec.x_f__mutmut_1"


def test_interval_is_that_of_wilson():
    """Values of the worked example 81 of 263 in Newcombe 1998, "Two-sided confidence intervals", method 3."""
    noticed = Mutated(1000, 263, {}, tuple(map(str, range(263 - 81))))
    assert noticed.interval() == pytest.approx((0.2553, 0.3662), abs=5e-5)
