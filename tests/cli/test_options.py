from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.cli.options import parse_duration, parse_settings, parse_share, parse_size
from mu2net.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("2h", 7200),
        ("1h0m5s", 3605),
        ("45", 45),
        ("0.5", 0.5),
        (" 8M ", 480),
    ],
)
def test_times(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10x", "m", "-5", "1m1h", "10 m", "1e3", "nan", "inf", "0", "0s", "1:30", "٣s", "1.5m"]
)
def test_no_times(text):
    with pytest.raises(ConfigError, match=r"--time is .*; expected"):
        parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 999), st.integers(1, 999))
def test_parts_add_up(hours, minutes, seconds):
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


def test_settings_keep_their_types():
    settings = parse_settings(
        ["opt_lr=0.02", "num_layers=3", "ds_crop=false", "opt_nesterov=True", "opt_lr_schedule=cosine"]
    )
    assert settings == {
        "opt_lr": 0.02,
        "num_layers": 3,
        "ds_crop": False,
        "opt_nesterov": True,
        "opt_lr_schedule": "cosine",
    }
    assert [type(value) for value in settings.values()] == [float, int, bool, bool, str]


@pytest.mark.parametrize("text", ["opt_lr", "=3", "opt_lr=", ""])
def test_no_settings(text):
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        parse_settings([text])


def test_a_setting_given_twice_is_an_error():
    with pytest.raises(ConfigError, match="'mu' twice"):
        parse_settings(["mu=0.1", "mu=0.2"])


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("123", 123), ("500MB", 500_000_000), ("20gb", 20 * 10**9), ("1.5 T", 1_500 * 10**9)]
)
def test_sizes(text, size):
    assert parse_size("--cache-limit", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "5 pigs", "1e9", "5GiB", "٣GB"])
def test_no_sizes(text):
    with pytest.raises(ConfigError, match=r"--cache-limit is .*; expected a size such as 500MB"):
        parse_size("--cache-limit", text)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), (" 0.5 ", 0.5), ("100 %", 1.0), ("1", 1.0)])
def test_shares(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "0", "0%", "101%", "1.5", "-5%", "five"])
def test_what_is_no_share(text):
    with pytest.raises(ConfigError, match="is no share"):
        parse_share(text)
