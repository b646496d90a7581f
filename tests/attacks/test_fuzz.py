"""The fuzz targets without the fuzzer: random bytes, and honest files with random damages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.fuzz import TARGETS, main
from mu2net.errors import UnknownNameError
from mu2net.store.backup import Manifest
from mu2net.store.components import canonical_bytes
from mu2net.store.config import SystemConfig
from mu2net.store.seal import State, _own_digest

LINE = State(7, 3_040_001, "a" * 32).to_line()
MANIFEST = Manifest(
    created_by="0.1.0",
    created_at="2026-11-25",
    registry=f"registry-{'a' * 16}.sqlite",
    registry_digest="b" * 64,
    config_digest="c" * 64,
    files={"d" * 64: 8},
)
HONEST = {
    "component": canonical_bytes({"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(0)}),
    "manifest": MANIFEST.model_dump_json().encode(),
    "config": SystemConfig(root="tiny", backbone={"dim": 4}).to_toml().encode(),
    "seal": f"{LINE}{_own_digest(LINE)}\n".encode(),
}


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_target_takes_any_bytes(name, data):
    honest = HONEST[name]
    kind = data.draw(st.sampled_from(["random", "cut", "flipped", "spliced"]))
    if kind == "random":
        made = data.draw(st.binary(max_size=200))
    elif kind == "cut":
        made = honest[: data.draw(st.integers(0, len(honest)))]
    elif kind == "flipped":
        changed = bytearray(honest)
        for _ in range(data.draw(st.integers(1, 4))):
            changed[data.draw(st.integers(0, len(honest) - 1))] = data.draw(st.integers(0, 255))
        made = bytes(changed)
    else:
        at = data.draw(st.integers(0, len(honest)))
        made = honest[:at] + data.draw(st.binary(max_size=20)) + honest[at:]
    TARGETS[name](made)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_what_is_honest(name):
    TARGETS[name](HONEST[name])


def test_a_finding_is_one(monkeypatch):
    monkeypatch.setattr("attacks.fuzz.digest_of", lambda data: "0" * 64)
    monkeypatch.setattr("mu2net.store.components.digest_of", lambda data: "0" * 64)
    with pytest.raises(AssertionError, match="another digest"):
        TARGETS["component"](HONEST["component"])


def test_a_target_must_exist():
    with pytest.raises(UnknownNameError, match="fuzz target"):
        main(["components"])
