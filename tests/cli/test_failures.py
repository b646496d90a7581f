from __future__ import annotations

import errno

import pytest

from mu2net.errors import ComponentError, LockedError, Mu2NetError, WorkerError
from mu2net.train.events import TrainingStopped


def test_an_error_is_one_message_on_standard_error(run, fake):
    fake.errors["verify"] = LockedError("system 's' is evolved by another process (pid 12, host [a], since 10:00)")
    result = run("verify")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: system 's' is evolved by another process (pid 12, host [a], since 10:00)"
    )
    assert "Traceback" not in result.output


def test_with_json_standard_output_stays_empty_when_it_fails(run, fake):
    fake.errors["tasks"] = ComponentError("component 0a1b is truncated")
    result = run("tasks", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: component 0a1b is truncated" in result.stderr


def test_a_bug_asks_for_a_report(run, fake):
    fake.errors["tasks"] = ZeroDivisionError("division by zero")
    result = run("tasks")
    assert result.exit_code == 70
    assert "did not expect this (ZeroDivisionError: division by zero)" in result.stderr
    assert "MU2NET_DEBUG=1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), Mu2NetError("wrong")])
def test_debugging_shows_the_traceback(run, fake, error):
    fake.errors["tasks"] = error
    result = run("tasks", env={"MU2NET_DEBUG": "1"})
    assert "Traceback (most recent call last)" in result.stderr
    assert "conftest.py" in result.stderr


def test_a_full_disk_is_no_bug(run, fake):
    fake.errors["evolve"] = OSError(errno.ENOSPC, "No space left on device", "s/components/x")
    result = run("evolve", "pets")
    assert result.exit_code == 2
    assert "error: No space left on device: 's/components/x'" in result.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "s/x"), "No such file or directory: 's/x'"),
        (OSError(errno.EIO, "Input/output error", b"s/x"), "Input/output error: 's/x'"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (OSError("the hub\n did not answer"), "the hub did not answer"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_the_operating_system_refuses_is_no_bug(run, fake, error, line):
    fake.errors["tasks"] = error
    result = run("tasks")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"error: {line}"


@pytest.mark.parametrize("debug", ["", "1"])
def test_the_traceback_of_a_worker_is_shown_only_when_debugging(run, fake, debug):
    error = WorkerError("RuntimeError: no memory; worker process 7 could not go on")
    error.add_note("In the worker process:\nTraceback of it")
    fake.errors["evolve"] = error
    result = run("evolve", "pets", env={"MU2NET_DEBUG": debug})
    assert result.exit_code == 2
    assert "error: RuntimeError: no memory; worker process 7" in result.stderr
    assert ("Traceback of it" in result.stderr) == bool(debug)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TrainingStopped("training of pets was stopped at once")])
def test_stopped_at_once_is_130(run, fake, error):
    fake.errors["evolve"] = error
    result = run("evolve", "pets")
    assert result.exit_code == 130
    assert "stopped: " in result.stderr
    assert "safe" in result.stderr or "goes on" in result.stderr


def test_control_characters_of_foreign_names_do_not_reach_the_terminal(run, fake):
    fake.errors["tasks"] = Mu2NetError("class '\x1b[31mred\x07' has no images")
    result = run("tasks")
    assert "\x1b" not in result.stderr
    assert "has no images" in result.stderr
