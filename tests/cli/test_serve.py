"""What the command makes of its options; a real server runs in tests/serve."""

from __future__ import annotations

import builtins
import json

import pytest

from mu2net.nn import allocator
from mu2net.serve import app as serving
from mu2net.serve import run as running
from mu2net.system.arithmetic import Change


class Socket:
    def getsockname(self):
        return "127.0.0.1", 8123


@pytest.fixture
def served(monkeypatch):
    """What the server would have been started with."""
    found = {}

    def create_app(classifier, settings, tokens):
        found.update(classifier=classifier, settings=settings, tokens=tokens)
        return "app"

    def run(app, listening, tell, **options):
        found.update(app=app, options=options)
        tell()

    monkeypatch.setattr(serving, "create_app", create_app)
    monkeypatch.setattr(running, "run", run)
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: found.update(keeps_memory=True))
    monkeypatch.setattr(running, "bind", lambda host, port: found.update(host=host, port=port) or Socket())
    return found


def asked(fake):
    ((_, options),) = [entry for entry in fake.calls if entry[0] == "classifier"]
    return options


def test_defaults(run, fake, served):
    result = run("serve")
    assert result.exit_code == 0, result.stderr
    assert "serving 2 tasks of somewhere at http://127.0.0.1:8123" in result.stdout
    assert "warning" not in result.stderr
    assert (served["host"], served["port"], served["tokens"]) == ("127.0.0.1", 8000, None)
    assert asked(fake) == {"precision": "float32", "memory_limit": None, "judge": None}
    assert served["options"] == {"drain": 30.0, "connections": 1000, "proxies": []}
    assert served["keeps_memory"]


def test_options_arrive_in_their_units(run, fake, served):
    options = ["--max-wait-ms", "5", "--timeout", "10s", "--max-body", "1MB", "--memory-limit", "500MB", "--json"]
    result = run("serve", *options, "--precision", "recorded", "--proxy", "10.0.0.1", "--rate", "3", "--watch", "0")
    assert json.loads(result.stdout) == {
        "url": "http://127.0.0.1:8123",
        "tasks": ["pets", "flowers"],
        "precision": "recorded",
    }
    settings = served["settings"]
    assert (settings.max_wait, settings.timeout, settings.max_body) == (0.005, 10.0, 10**6)
    assert (settings.rate, settings.watch) == (3.0, 0.0)
    assert asked(fake) == {"precision": None, "memory_limit": 500 * 10**6, "judge": None}
    assert served["options"]["proxies"] == ["10.0.0.1"]


def test_an_open_address_without_tokens_is_warned_of(run, fake, served):
    assert "anybody who reaches 0.0.0.0 may ask" in run("serve", "--host", "0.0.0.0").stderr


def test_tokens_of_tasks_that_do_not_exist_are_warned_of(run, fake, served, tmp_path):
    digest = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
    file = tmp_path / "tokens.toml"
    file.write_text(f'[[token]]\nname = "a"\nsha256 = "{digest}"\ntasks = ["pets", "cars"]\n')
    result = run("serve", "--auth", file, "--host", "0.0.0.0")
    assert "tokens name the task 'cars', which does not exist (yet)" in result.stderr
    assert "anybody" not in result.stderr


GOOD = Change("pets", "int8", 200, 0.95, 0.945, 3)
BAD = Change("pets", "int8", 200, 0.95, 0.94, 7)
GONE = Change("pets", "int8", 0, 0.0, 0.0, 0, "no such folder")


@pytest.mark.parametrize(
    ("change", "options", "may", "said"),
    [
        (GOOD, (), True, "95.00 % as trained, 94.50 % in int8 (-0.50 points; 3 of 200 labels changed)\n"),
        (BAD, (), False, "94.00 % in int8 (-1.00 points; 7 of 200 labels changed); it is served as trained\n"),
        (BAD, ("--force",), True, "94.00 % in int8 (-1.00 points; 7 of 200 labels changed)\n"),
        (GONE, (), False, "int8 was not measured: no such folder; it is served"),
        (GONE, ("--force",), True, "int8 was not measured: no such folder\n"),
    ],
)
def test_what_loses_accuracy_is_served_as_trained(run, fake, served, network_path, change, options, may, said):
    fake.change = change
    result = run("serve", "--precision", "int8", *options)
    assert result.exit_code == 0, result.stderr
    assert asked(fake)["precision"] == "int8"
    assert fake.verdict is may
    assert said in result.stderr
    assert "pets: " in result.stderr


def test_an_unknown_precision_and_a_missing_package_are_errors(run, fake, monkeypatch):
    result = run("serve", "--precision", "int4")
    assert result.exit_code == 2
    assert "int8" in result.stderr
    original = builtins.__import__

    def refuse(name, *args, **options):
        if name == "mu2net.serve.app":
            raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    result = run("serve")
    assert result.exit_code == 2
    assert "`serve` needs fastapi; install it: pip install 'mu2net[serve]'" in result.stderr
