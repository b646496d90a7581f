"""The fuzz targets without the fuzzer: random bytes, and honest files with random damages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.fuzz import TARGETS, honest, main
from mu2net.errors import UnknownNameError

HONEST = honest()


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
