from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mu2net.cli.output import duration, percent, plain, plural, print_json, quantity, say


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 k"),
        (999_499, "999 k"),
        (999_999, "1.00 M"),
        (1_234_567, "1.23 M"),
        (12_345_678, "12.3 M"),
        (390_000_000, "390 M"),
        (1.5e9, "1.50 G"),
        (2e12, "2.00 T"),
    ],
)
def test_quantities(number, text):
    assert quantity(number) == text


@given(st.floats(0, 9e14))
def test_a_quantity_has_at_most_three_digits_and_is_close(number):
    digits, _, unit = quantity(number).partition(" ")
    assert len(digits.replace(".", "")) <= 3
    scale = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[unit]
    assert float(digits) * scale == pytest.approx(number, rel=0.006, abs=0.51)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.9, "59.9 s"),
        (59.96, "1m00s"),
        (75, "1m15s"),
        (3599.6, "1h00m"),
        (7380, "2h03m"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_percent():
    assert percent(0.95374) == "95.37 %"
    assert percent(0.5, 0) == "50 %"
    assert percent(None) == "-"


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "child", "1 child"), (4, "child", "4 children"), (2, "class", "2 classes"), (2000, "image", "2,000 images")],
)
def test_plurals(number, noun, text):
    assert plural(number, noun) == text


def test_json_has_no_numbers_that_json_does_not_know(capsys):
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": ("ü", True, None)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": ["ü", True, None]}


def test_foreign_text_has_no_markup_and_no_control_characters():
    assert plain("[red]x\x1b[0m\n\udce9é").plain == "[red]x\ufffd[0m\ufffd\ufffdé"


def test_a_file_gets_long_lines_whole_and_a_terminal_gets_them_broken_between_words():
    for is_terminal in (False, True):
        stream = io.StringIO()
        console = Console(file=stream, width=20, force_terminal=is_terminal, color_system=None)
        say(console, "one two three four five six seven")
        lines = [line.rstrip() for line in stream.getvalue().splitlines()]
        assert lines == (
            ["one two three four", "five six seven"] if is_terminal else ["one two three four five six seven"]
        )
