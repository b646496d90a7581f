from __future__ import annotations

import json

import pytest

from benchmarks.evidence.keys import Condition, Key
from benchmarks.evidence.records import Failure, record_from_json


def test_records_come_back_from_json(make_result, make_check):
    result = make_result(order=("b", "a"), condition=Condition(90.0, None, (("ds_crop", False),), ("ds_crop",)))
    for record in (result, make_check(result, unconfirmed=("a",)), Failure(result.key, "no", "today")):
        assert record_from_json(json.loads(json.dumps(record.to_json()))) == record


def test_an_unknown_kind_of_record_is_refused(make_result):
    with pytest.raises(ValueError, match="'guess'"):
        record_from_json({**make_result().to_json(), "kind": "guess"})


def test_the_position_is_the_number_of_earlier_tasks(make_result):
    assert make_result(task="a", order=("c", "b", "a")).key.position == 2
    assert make_result(task="a").key.position == 0


def test_settings_in_another_order_are_the_same_condition():
    values = {"seconds": 1.0, "examples": None, "hparams": {"b": 1, "a": 2}, "fixed": ["y", "x"]}
    other = {**values, "hparams": {"a": 2, "b": 1}, "fixed": ["x", "y"]}
    assert Condition.from_json(values) == Condition.from_json(other)


def test_whatever_is_measured_differently_has_another_key(make_result):
    key = make_result(order=("a", "b")).key
    others = [
        make_result(order=("b", "a")).key,
        make_result(order=("a", "b"), seed=1).key,
        make_result(order=("a", "b"), s_size=0.9).key,
        make_result(order=("a", "b"), condition=Condition(61.0)).key,
        make_result(order=("a", "b"), condition=Condition(60.0, fixed=("mu",))).key,
        make_result(order=("a", "b"), experiment="growth").key,
        make_result(order=("a", "b"), spec="other").key,
    ]
    assert len({key, *others}) == 8
    assert Key.from_json(key.to_json()) == key
