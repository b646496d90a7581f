from __future__ import annotations

import json


def test_an_intact_system(run, fake):
    result = run("verify")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == fake.verification.sentence()
    assert "Nothing was forgotten" in result.stdout
    assert "bit-equal" in result.stdout


def test_a_damaged_system_is_exit_code_1_and_names_the_damage(run, fake):
    fake.verification = fake.damaged
    result = run("verify")
    assert result.exit_code == 1
    assert "component 0a1b (block_03 of tasks pets) holds other bytes" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("DAMAGED: 1 file is not what was published")
    assert "computed by a damaged component" in result.stdout


def test_verify_as_json(run, fake):
    intact = json.loads(run("verify", "--json").stdout)
    assert intact["is_intact"] is True
    assert intact["sentence"] == fake.verification.sentence()
    fake.verification = fake.damaged
    result = run("verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["is_intact"] is False
