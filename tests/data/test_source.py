from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.data import hub
from mu2net.data.source import DemoSource, HubSource, TaskSource, check_task_name, parse_source
from mu2net.errors import ConfigError, SourceError, UnknownNameError


@pytest.mark.parametrize("name", ["a", "cifar10", "my-task_2.1", "_x", "9", "a" * 64])
def test_safe_names(name):
    assert check_task_name(name) == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("Cifar 10", "cifar-10"),
        (".hidden", "hidden"),
        ("-x", "x"),
        ("a/b", "a-b"),
        ("../up", "up"),
        ("", "task"),
        ("..", "task"),
        ("a" * 65, "a" * 64),
        ("ünïcode", "n-code"),
        ("tab\n", "tab"),
    ],
)
def test_unsafe_names_get_a_suggestion(name, suggestion):
    with pytest.raises(ConfigError) as error:
        check_task_name(name)
    assert f"try '{suggestion}'" in str(error.value)
    with pytest.raises(ConfigError):
        TaskSource(name=name, source="demo:digits")


@given(st.text(max_size=80))
def test_a_suggestion_is_itself_safe(name):
    try:
        suggestion = check_task_name(name)
    except ConfigError as error:
        suggestion = str(error).rsplit("try ", 1)[1].strip("'")
    assert check_task_name(suggestion) == suggestion


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo:digits", DemoSource(name="digits")),
        ("hf:a/b", HubSource(repo="a/b")),
        ("hf:a-1/b.c:x y", HubSource(repo="a-1/b.c", config="x y")),
        ("hf:a/b@v1", HubSource(repo="a/b", revision="v1")),
        ("hf:a/b:c@refs/convert/parquet", HubSource(repo="a/b", config="c", revision="refs/convert/parquet")),
        ("./hf", Path("hf")),
        ("/data/x.parquet", Path("/data/x.parquet")),
    ],
)
def test_parse(text, expected):
    found = parse_source(text)
    assert found == expected
    if not isinstance(found, Path):
        assert str(found) == text


def test_malformed_sources():
    for text in ("hf:", "hf:name", "hf:a/b/c", "hf:a/b:"):
        with pytest.raises(SourceError, match=r"hf:OWNER/NAME\[:CONFIG\]"):
            parse_source(text)
    with pytest.raises(SourceError, match="names nothing"):
        parse_source(" ")
    with pytest.raises(UnknownNameError, match="did you mean 'demo:digits'"):
        parse_source("demo:digit")
    with pytest.raises(UnknownNameError):
        TaskSource(name="a", source="x", test="demo:none")


def test_json_round_trip():
    source = TaskSource(
        name="a", source="x", validation="y", image_column="i", label_column="l", group_column="g", skip_bad_images=True
    )
    assert TaskSource.model_validate_json(source.model_dump_json()) == source


def test_pinned_paths_are_absolute_and_hub_sets_have_a_commit(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "newest_revision", lambda source: "abc123")
    source = TaskSource(name="a", source="folder", validation="hf:o/n:c", test="hf:o/n@v2").pinned()
    assert source.source == str(tmp_path / "folder")
    assert source.validation == "hf:o/n:c@abc123"
    assert source.test == "hf:o/n@v2"
    assert source.pinned() == source
