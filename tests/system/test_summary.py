from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.component import Component, Digest, Slot
from mu2net.core.path import Path
from mu2net.system.summary import ProbeSummary, Verification, added_parameters, reuse_by_donor

INTACT = Verification(
    12,
    1000,
    (),
    (ProbeSummary("a", "a/0/0/0", "bit-equal", 48, 0.0), ProbeSummary("b", "b/0/0/0", "bit-equal", 32, 0.0)),
)


def test_what_was_proved_is_one_sentence():
    assert INTACT.is_intact
    assert INTACT.sentence() == (
        "Nothing was forgotten: 12 files of 2 tasks hash to their names, and all 80 probe logits are bit-equal "
        "to those recorded at publication"
    )
    assert "of 1 task hash" in replace(INTACT, probes=INTACT.probes[:1]).sentence()


def test_a_weaker_proof_says_so():
    near = replace(INTACT.probes[1], check="within 1e-5", max_difference=1e-6)
    found = replace(INTACT, probes=(INTACT.probes[0], near))
    assert found.is_intact
    assert "equal within 1e-5 (1 of 2 tasks bit-equal)" in found.sentence()


@pytest.mark.parametrize("check", ["changed", "missing", "not run"])
def test_a_probe_that_proves_nothing_is_damage(check):
    found = replace(INTACT, probes=(INTACT.probes[0], replace(INTACT.probes[1], check=check)))
    assert not found.is_intact
    assert found.sentence().startswith("DAMAGED")
    assert found.sentence().endswith("probe logits not confirmed for: b")


def test_damage_is_damage_although_all_probes_agree():
    found = replace(INTACT, damages=("component 0a is missing",))
    assert not found.is_intact
    assert found.sentence() == "DAMAGED: 1 file is not what was published"
    both = replace(found, damages=(*found.damages, "component 0b is truncated"))
    assert both.sentence() == "DAMAGED: 2 files are not what was published"


def test_reuse_is_counted_by_donor_largest_first():
    sizes = [("stem", 10, None), ("block_00", 60, "b"), ("norm", 5, "a"), ("head", 25, "a")]
    parts = [Component(Digest(name), Slot(name, name), size, task) for name, size, task in sizes]
    path = Path("a/0/0/0", "a", tuple(parts), {})
    assert reuse_by_donor(path) == {"b": 0.6, "root": 0.1}
    assert list(reuse_by_donor(path)) == ["b", "root"]
    assert added_parameters(path) == 30
    assert reuse_by_donor(replace(path, components=())) == {}
