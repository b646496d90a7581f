from __future__ import annotations

import json
from datetime import timedelta

import pytest

from mu2net.cli.space import size


def test_collecting_says_first_what_it_would_do(run, fake):
    text = run("collect").stdout
    assert "2 files of 2.5 MB would be removed" in text
    assert "1 of them belonged to nothing" in text
    assert "1 unfinished file would be removed" in text
    assert "nothing was changed; add --yes" in text
    assert ("collect", {"is_dry": True, "grace": timedelta(days=14)}) in fake.calls


@pytest.mark.parametrize(
    ("options", "grace"),
    [((), timedelta(days=14)), (("--now",), timedelta(0)), (("--grace", "0.5"), timedelta(hours=12))],
)
def test_collecting(run, fake, options, grace):
    result = run("collect", "--yes", *options)
    assert "2 files of 2.5 MB were removed" in result.stdout
    assert "--yes" not in result.stdout
    assert ("collect", {"is_dry": False, "grace": grace}) in fake.calls


@pytest.mark.parametrize("options", [("--now", "--grace", "3"), ("--grace", "0"), ("--grace", "-1")])
def test_a_grace_period_that_cannot_be(run, fake, options):
    result = run("collect", *options)
    assert result.exit_code == 2
    assert fake.calls == []


def test_collect_as_json(run, fake):
    found = json.loads(run("collect", "--json").stdout)
    assert (found["num_bytes"], found["is_done"], found["unfinished"]) == (2_500_000, False, [".tmp-1"])


def test_compacting_the_history_needs_yes(run, fake):
    result = run("compact-history")
    assert (result.exit_code, "cannot be undone" in result.stderr) == (2, True)
    assert fake.calls == []
    text = run("compact-history", "pets", "--yes").stdout
    assert "parameters of 7 children may go" in text
    assert "were removed" in text
    assert ("compact_history", {"name": "pets"}) in fake.calls
    assert json.loads(run("compact-history", "--yes", "--json").stdout)["children"] == 7


def test_who_uses_the_disk(run, fake):
    text = run("du").stdout
    pets = next(line for line in text.splitlines() if "pets" in line)
    assert "4.0 MB" in pets
    assert "9.6 MB" in pets
    assert "950.0 MB" in text
    assert "512 B" in text
    assert json.loads(run("du", "--json").stdout)["history"] == 950_000_000


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (10**9, "1.0 GB"), (10**16, "10000.0 TB")]
)
def test_sizes(num_bytes, text):
    assert size(num_bytes) == text
