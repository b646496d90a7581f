"""Owners can be told apart, also by people who do not see all colours."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations

import pytest

from mu2net.report.palette import COLOURS, ROOT_COLOUR, SHAPES, owner_facts
from tests.report.colour_vision import SIGHTS, contrast, difference

LEAST_DIFFERENCE = 15.0
LEAST_CONTRAST = 2.2


def style_sheet():
    return files("mu2net.report").joinpath("assets", "style.css").read_text("utf-8")


def test_the_measure_knows_what_looks_alike():
    assert difference("#ffffff", "#000000", "all receptors") == pytest.approx(100, abs=0.1)
    assert difference("#d55e00", "#8c7a00", "no red") < 8, "orange and olive"
    assert difference("#d55e00", "#8c7a00", "all receptors") > 35
    assert contrast("#ffffff", "#000000") == pytest.approx(21)


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_differ_from_each_other_and_from_the_roots(sight):
    grounds = re.findall(r"--root: (#\w+)", style_sheet())
    assert grounds[0] == ROOT_COLOUR
    assert len(set(grounds)) == 2, "one for a light ground, one for a dark one"
    pairs = [*combinations(COLOURS, 2), *((root, colour) for root in set(grounds) for colour in COLOURS)]
    assert min(difference(one, other, sight) for one, other in pairs) >= LEAST_DIFFERENCE


def test_colours_are_seen_on_both_grounds():
    light, dark = re.findall(r"--paper: (#\w+)", style_sheet())[:2]
    roots = dict(zip((light, dark), re.findall(r"--root: (#\w+)", style_sheet())[:2], strict=True))
    for ground in (light, dark):
        assert min(contrast(colour, ground) for colour in (*COLOURS, roots[ground])) >= LEAST_CONTRAST


def test_later_owners_have_another_shape():
    found = owner_facts("root", [f"task{number:03d}" for number in range(100)])
    assert [owner.name for owner in found[:2]] == ["root", "task000"]
    assert len({(owner.colour, owner.shape) for owner in found}) == 101
    assert [owner.shape for owner in found[1:37]] == [shape for shape in SHAPES for _ in COLOURS]
    assert {owner.colour for owner in found[1:37]} == set(COLOURS)
    assert all(re.fullmatch("#[0-9a-f]{6}", owner.colour) for owner in found)
