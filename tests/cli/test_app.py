from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mu2net.cli.app import COMMANDS

HEAVY = ("torch", "numpy", "sqlalchemy", "datasets", "pydantic", "PIL", "mu2net.system", "mu2net.core")


def test_help_lists_every_command_in_order(run):
    result = run("--help")
    assert result.exit_code == 0
    positions = [result.stdout.index(f"│ {name} ") for name in COMMANDS]
    assert positions == sorted(positions)
    assert {"init", "add", "evolve", "tasks", "show", "history", "predict", "eval", "verify", "demo"} <= set(COMMANDS)


def test_without_arguments_shows_the_help(run):
    result = run()
    assert "Usage: mu2net" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_and_json(run, name):
    result = run(name, "--help", env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert ("--system" in result.stdout) == (name not in ("agents", "demo"))


def test_help_imports_nothing_heavy_and_is_quick():
    script = (
        "import sys, mu2net.cli\n"
        "try:\n    mu2net.cli.app(['--help'])\n"
        "except SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert "HEAVY []" in output
    assert "Usage: " in output
    assert usage.ru_utime < 1.0, "seconds of the processor, which other programs do not change much"


def test_import_of_the_package_is_light():
    script = f"import sys, mu2net, mu2net.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == "mu2net 0.1.0\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("--nonsense",),
        ("tasks", "--nonsense"),
        ("show",),
        ("add", "pets"),
        ("predict", "pets"),
        ("predict", "pets", "cat.png", "--top", "0"),
        ("init", "--image-size", "big"),
        ("evolve", "--children", "0"),
        ("evolve", "--device", "abacus"),
    ],
)
def test_wrong_usage_is_exit_code_2_on_standard_error(run, fake, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr
    assert not [call for call in fake.calls if call[0] != "open"]


def test_the_system_is_named_before_or_after_the_command_or_by_the_environment(run, fake, tmp_path):
    def opened(*arguments, **environment) -> Path:
        fake.calls.clear()
        result = run(*arguments, env=environment)
        assert result.exit_code == 0, result.output
        return fake.calls[0][1]["directory"]

    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "mu2net.toml").touch()
    assert opened("tasks") == Path("mu2net-system")
    assert opened("tasks", MU2NET_SYSTEM="a") == Path("a")
    assert opened("--system", "b", "tasks", MU2NET_SYSTEM="a") == Path("b")
    assert opened("--system", "b", "tasks", "--system", "c", MU2NET_SYSTEM="a") == Path("c")
    assert opened("tasks", "--system", "mu2net-system", MU2NET_SYSTEM="a") == Path("mu2net-system")
