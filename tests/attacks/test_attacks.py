from __future__ import annotations

import pytest

from attacks import ATTACKS, MAX_MEMORY, MAX_SECONDS, Attack, run
from attacks.__main__ import main, parse
from mu2net.errors import ImageError, StoreError


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_at_once(name):
    outcome = run(ATTACKS[name])
    assert outcome.is_expected, (ATTACKS[name].what, ATTACKS[name].expected, outcome)
    assert outcome.memory <= MAX_MEMORY, outcome
    if outcome.seconds > MAX_SECONDS:  # a busy machine: once more
        assert run(ATTACKS[name]).seconds <= MAX_SECONDS


def test_there_are_many():
    assert len(ATTACKS) >= 60
    assert all(attack.what.endswith(".") for attack in ATTACKS.values())


def test_what_is_not_refused_is_told(capsys, monkeypatch):
    """The frame itself sees another error, none at all, a death, a wait, and a hunger for memory."""

    def outcome(strike, expected=StoreError):
        return run(Attack("probe", "Probe.", expected, lambda folder: strike))

    def refuse():
        raise StoreError("no")

    def hold():
        assert len(bytearray(2 * MAX_MEMORY).replace(b"\0", b"\1")) > MAX_MEMORY
        refuse()

    assert outcome(refuse).is_repelled
    assert not outcome(refuse, ImageError).is_repelled
    assert not outcome(lambda: None).is_repelled
    assert not outcome(lambda: 1 / 0).is_repelled
    assert outcome(lambda: __import__("os")._exit(1)).error == "the process died"
    assert outcome(hold).memory > MAX_MEMORY
    monkeypatch.setitem(ATTACKS, "probe", Attack("probe", "Probe.", ImageError, lambda folder: refuse))
    assert main(["probe"]) == 1
    assert "NOT REPELLED  probe" in capsys.readouterr().out
    assert main(["task-named-like-an-option"]) == 0


def test_the_command_line_names_attacks_that_exist(capsys):
    name = next(iter(ATTACKS))
    assert parse([name]) == [name]
    assert parse([]) == []
    with pytest.raises(SystemExit):
        parse(["nothing"])
    assert f"there is no attack 'nothing'; there are: {name}" in capsys.readouterr().err
