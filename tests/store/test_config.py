from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mu2net.errors import FormatError, StoreError
from mu2net.store.config import FORMAT_VERSION, SystemConfig, config_from_toml
from mu2net.store.store import Store

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
configs = st.builds(
    SystemConfig,
    root=texts,
    root_source=texts,
    backbone=st.dictionaries(texts, values, max_size=4),
    seed=st.integers(0, 2**63 - 1),
    created_by=texts,
    registry_url=st.none() | texts,
)


@given(configs)
@settings(max_examples=100, deadline=None)
def test_every_config_comes_back(config):
    text = config.to_toml()
    assert tomllib.loads(text)
    assert config_from_toml(text.encode(), "mu2net.toml") == config


def test_the_file_is_for_people():
    config = SystemConfig(root="vit:dim=8", root_source="random", backbone={"dim": 8}, seed=3, created_by="0.1.0")
    assert config.to_toml().splitlines() == [
        "# A mu2net system. Evolution reads this file and never changes it.",
        "format_version = 1",
        'created_by = "0.1.0"',
        'root = "vit:dim=8"',
        'root_source = "random"',
        "seed = 3",
        "backbone = '{\"dim\": 8}'",
    ]


GOOD = SystemConfig(root="tiny", backbone={"dim": 8}).to_toml()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 0", "seed = -1", r"key 'seed'.*greater than or equal to 0.*found: -1"),
        ("seed = 0", 'seed = "0"', r"key 'seed'.*valid integer"),
        ("seed = 0", "sead = 0", r"key 'sead'.*not permitted"),
        ('root = "tiny"', "", r"key 'root'.*required"),
        ("seed = 0", "seed = ", r"not valid TOML.*line 6"),
        ('{"dim": 8}', '{"dim": 8', r"key 'backbone'.*valid dictionary"),
        ("format_version = 1", "", r"key 'format_version' is missing"),
        ("format_version = 1", "format_version = 'one'", r"key 'format_version'.*valid integer"),
    ],
)
def test_a_malformed_file_names_the_key(old, new, message):
    assert old in GOOD
    with pytest.raises(StoreError, match=rf"s/mu2net\.toml.*{message}"):
        config_from_toml(GOOD.replace(old, new).encode(), "s/mu2net.toml")


def test_bytes_that_are_no_text():
    with pytest.raises(StoreError, match="not valid TOML"):
        config_from_toml(b"\xff\xfe", "mu2net.toml")


def test_a_newer_format_says_what_it_needs(store):
    toml = store.directory / "mu2net.toml"
    newer = toml.read_text().replace("format_version = 1", f"format_version = {FORMAT_VERSION + 1}")
    lines = [line for line in newer.splitlines() if not line.startswith("created_by")]
    toml.write_text("\n".join([*lines, 'created_by = "5.0.0"', 'unknown_to_us = "x"']))
    with pytest.raises(FormatError, match=r"format_version 2, written by mu2net 5\.0\.0.*reads up to 1: install"):
        Store.open(store.directory)


@pytest.mark.parametrize("backbone", ["", "backbone = 7", "backbone = 'no json'", "backbone = '[]'"])
def test_a_backbone_that_is_none_is_named(backbone):
    text = f'format_version = 1\nroot = "tiny"\n{backbone}\n'
    with pytest.raises(StoreError, match=r"mu2net\.toml: key 'backbone'"):
        config_from_toml(text.encode(), "mu2net.toml")
