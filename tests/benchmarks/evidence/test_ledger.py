from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.evidence.ledger import Ledger
from benchmarks.evidence.records import Failure
from mu2net.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "results" / "ledger.jsonl"


def fill(file, records):
    ledger = Ledger(file)
    with ledger.writing():
        for record in records:
            ledger.append(record)


def test_of_several_records_with_one_key_the_last_counts(file, make_result):
    records = [make_result(test=0.5), make_result(task="b"), make_result(test=0.6)]
    fill(file, records)
    ledger = Ledger(file)
    assert ledger.records == records
    assert [result.test for result in ledger.results().values()] == [0.6, 0.8]


def test_a_torn_last_line_is_left_out_and_said_and_cut_off(file, make_result):
    fill(file, [make_result(), make_result(task="b")])
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    ledger = Ledger(file)
    assert str(file) in ledger.torn
    assert [record.key.task for record in ledger.records] == ["a"]
    with ledger.writing():
        ledger.append(make_result(task="b"))
    assert file.read_bytes() == whole
    assert not Ledger(file).torn


def test_a_broken_line_in_the_middle_is_an_error(file, make_result):
    fill(file, [make_result(), make_result(task="b")])
    file.write_bytes(b"{}\n" + file.read_bytes())
    with pytest.raises(ConfigError, match=r"line 1 of .*ledger\.jsonl is no record"):
        Ledger(file)


def test_one_process_at_a_time_writes(file):
    ledger = Ledger(file)
    with ledger.writing(), pytest.raises(ConfigError, match="another benchmark writes"):
        Ledger(file).writing().__enter__()
    with ledger.writing():
        pass


def test_a_failure_counts_until_the_same_thing_succeeds(file, make_result):
    good, bad = make_result(), make_result(task="b")
    killed = replace(good.key, task="")
    failures = [Failure(key, "no", "today") for key in (good.key, bad.key, killed)]
    fill(file, failures)
    assert list(Ledger(file).failures()) == [good.key, bad.key, killed]
    fill(file, [good])
    assert list(Ledger(file).failures()) == [bad.key]
