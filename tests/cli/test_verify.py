from __future__ import annotations

import json
from dataclasses import replace


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


def test_depths(run, fake):
    for options, expected in (
        ((), {"depth": "full", "share": 1.0}),
        (("--quick",), {"depth": "quick", "share": 1.0}),
        (("--sample", "5%"), {"depth": "sample", "share": 0.05}),
    ):
        assert run("verify", *options).exit_code == 0
        assert ("verify", expected) in fake.calls
    assert run("verify", "--quick", "--sample", "5%").exit_code == 2
    result = run("verify", "--sample", "much")
    assert (result.exit_code, "'much' is no share" in result.stderr) == (2, True)


def test_damaged_files_can_be_put_aside(run, fake):
    run("verify")
    assert "quarantine" not in [name for name, _ in fake.calls]
    fake.verification = replace(fake.damaged, damaged_files=("0a1b" + "0" * 60,))
    result = run("verify", "--quarantine")
    assert result.exit_code == 1
    assert "moved to quarantine/0a1b0000.safetensors.0" in result.stdout
    assert json.loads(run("verify", "--quarantine", "--json").stdout)["quarantined"] == [
        "quarantine/0a1b0000.safetensors.0"
    ]


def test_repair(run, fake, tmp_path):
    fake.verification = replace(fake.damaged, damaged_files=("a" * 64, "b" * 64))
    result = run("repair", "--from", tmp_path)
    assert (result.exit_code, "1 file restored" in result.stdout) == (0, True)
    assert ("repair", {"other": tmp_path, "digests": ("a" * 64, "b" * 64)}) in fake.calls
    fake.repaired = replace(fake.repaired, missing=("b" * 64,))
    result = run("repair", "--from", tmp_path)
    assert result.exit_code == 1
    assert f"component {'b' * 64} is not intact there either" in result.stdout
    assert json.loads(run("repair", "--from", tmp_path, "--json").stdout)["missing"] == ["b" * 64]
    fake.verification, fake.repaired = fake.damaged, replace(fake.repaired, restored=(), missing=())
    assert "restore a backup" in run("repair", "--from", tmp_path).stdout


def test_backup(run, fake):
    result = run("backup", "s3://bucket/name")
    assert "12 files of 4.5 MB copied to s3://bucket/name, 30 were there already" in result.stdout
    assert json.loads(run("backup", "x", "--json").stdout) == {"copied": 12, "kept": 30, "num_bytes": 4_500_000}


def test_restore_needs_a_backup(run, fake, tmp_path):
    result = run("restore", tmp_path, "--system", tmp_path / "new")
    assert (result.exit_code, "is no backup" in result.stderr) == (2, True)


def test_verify_as_json(run, fake):
    intact = json.loads(run("verify", "--json").stdout)
    assert intact["is_intact"] is True
    assert intact["sentence"] == fake.verification.sentence()
    fake.verification = fake.damaged
    result = run("verify", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["is_intact"] is False
