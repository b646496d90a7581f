from __future__ import annotations

import json
import logging
from itertools import cycle

import pytest
import torch

from mu2net.errors import ConfigError, UnknownNameError
from mu2net.nn import machine
from mu2net.nn.attention import AttentionShape
from mu2net.nn.roots import load_root
from mu2net.train import kernel
from mu2net.train.compute import thread_count
from mu2net.train.kernel import FILE_NAME, choose_attention, faster_kernel, time_kernels

CPU = torch.device("cpu")
SHAPE = AttentionShape(5, 2, 8)
WARM_UP = [100.0, 100.0]


class Clock:
    """Advances by the next of some durations at every second look: what is measured takes that long.

    Args:
        durations: Seconds of the runs in their order.
    """

    def __init__(self, durations):
        self.durations, self.now, self.is_running, self.runs = iter(durations), 0.0, False, 0

    def __call__(self):
        if self.is_running:
            self.now += next(self.durations)
            self.runs += 1
        self.is_running = not self.is_running
        return self.now


@pytest.mark.parametrize(
    ("explicit", "sdpa", "chosen"),
    [
        (1.0, 2.0, "explicit"),
        (0.94, 1.0, "explicit"),
        (0.95, 1.0, "explicit"),
        (0.96, 1.0, "sdpa"),
        (1.0, 1.0, "sdpa"),
        (2.0, 1.0, "sdpa"),
    ],
)
def test_explicit_must_be_clearly_faster(explicit, sdpa, chosen):
    assert faster_kernel(SHAPE, {"explicit": explicit, "sdpa": sdpa}) == chosen


@pytest.mark.parametrize(("explicit", "chosen"), [(0.6, "explicit"), (0.7, "explicit"), (0.75, "sdpa")])
def test_explicit_must_be_much_faster_where_a_part_of_a_batch_was_measured(explicit, chosen):
    assert faster_kernel(AttentionShape(197, 12, 64), {"explicit": explicit, "sdpa": 1.0}) == chosen


def test_the_kernels_take_turns_and_the_median_counts():
    slow = [30.0, 40.0]  # while another program runs
    clock = Clock([*WARM_UP, 1.0, 2.0, *slow, 1.5, 2.5])
    assert time_kernels(SHAPE, CPU, "float32", clock=clock) == {"explicit": 1.5 / 64, "sdpa": 2.5 / 64}


def test_a_measurement_ends_after_a_while_however_fast_or_slow_the_kernels_are():
    slow, fast = Clock(cycle([10.0])), Clock(cycle([1e-9]))
    time_kernels(SHAPE, CPU, "float32", clock=slow)
    time_kernels(SHAPE, CPU, "float32", clock=fast)
    assert slow.runs == 2 + 2 * 3
    assert fast.runs == 2 + 2 * 51


@pytest.mark.parametrize(("tokens", "heads", "batch"), [(50, 6, 64), (65, 6, 64), (197, 12, 4), (577, 12, 1)])
def test_a_batch_of_many_tokens_is_smaller(monkeypatch, tokens, heads, batch):
    class MeasuredError(Exception):
        pass

    def attend(queries, keys, values, kernel):
        raise MeasuredError(queries.shape, keys.shape, values.shape)

    monkeypatch.setattr(kernel, "attend", attend)
    with pytest.raises(MeasuredError) as found:
        time_kernels(AttentionShape(tokens, heads, 64), CPU, "float32")
    assert found.value.args == ((batch, heads, tokens, 64),) * 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_kernels_are_run_forward_and_backward_in_the_arithmetic(monkeypatch, precision):
    ran = []

    def attend(queries, keys, values, name):
        found = attention(queries, keys, values, name)
        ran.append((name, queries.dtype, found.dtype, torch.is_autocast_enabled("cpu"), found.requires_grad))
        return found

    attention = kernel.attend
    monkeypatch.setattr(kernel, "attend", attend)
    state = torch.random.get_rng_state()
    seconds = time_kernels(SHAPE, CPU, precision)
    dtype, is_mixed = getattr(torch, precision), precision == "bfloat16"
    assert set(ran) == {(name, dtype, dtype, is_mixed, True) for name in ("explicit", "sdpa")}
    assert min(seconds.values()) > 0
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.fixture
def choose(vit, tmp_path, monkeypatch):
    """Returns a function that chooses a kernel; ``choose.measured`` are the shapes that were measured."""

    def measure(shape, device, precision):
        function.measured.append((shape, device, precision, torch.get_num_threads()))
        return function.seconds

    def function(name="auto", precision="float32", image_size=8):
        return choose_attention(name, vit, CPU, precision, image_size, tmp_path)

    function.measured, function.seconds, function.file = [], {"explicit": 1.0, "sdpa": 2.0}, tmp_path / FILE_NAME
    monkeypatch.setattr(kernel, "time_kernels", measure)
    return function


def test_auto_is_measured_once_and_kept(choose):
    assert choose() == "explicit"
    choose.seconds = {"explicit": 2.0, "sdpa": 1.0}
    assert choose() == "explicit"
    assert choose.measured == [(AttentionShape(5, 2, 8), CPU, "float32", 1)]
    choose.file.unlink()
    assert choose() == "sdpa"
    assert len(choose.measured) == 2


def test_every_shape_arithmetic_and_number_of_threads_is_measured_by_itself(choose):
    for _ in range(2):
        choose()
        choose(precision="bfloat16")
        choose(image_size=16)
        with thread_count(2):
            choose()
    assert [(shape.tokens, precision, threads) for shape, _, precision, threads in choose.measured] == [
        (5, "float32", 1),
        (5, "bfloat16", 1),
        (17, "float32", 1),
        (5, "float32", 2),
    ]
    assert len(json.loads(choose.file.read_text())["measurements"]) == 4


def test_weights_that_would_fill_the_memory_are_not_kept(choose, monkeypatch):
    monkeypatch.setattr(kernel, "_MAX_KEPT", 64 * 2 * 5**2)
    assert choose() == "explicit"
    monkeypatch.setattr(kernel, "_MAX_KEPT", 64 * 2 * 5**2 - 1)
    assert (choose(), choose("explicit")) == ("sdpa", "explicit")
    assert len(choose.measured) == 1


def test_another_machine_measures_again(choose, monkeypatch):
    choose()
    for name in ("processor", "instructions"):
        monkeypatch.setattr(machine, name, lambda: "another")
        choose()
    assert len(choose.measured) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"format": "mu2net kernels 2", "measurements": []}',
        b'{"format": "mu2net kernels 1", "measurements": [{"conditions": {}, "seconds": {"explicit": -1}}]}',
        b'{"format": "mu2net kernels 1", "measurements": [{"conditions": {}, "seconds": {"other": 1}}]}',
    ],
)
def test_a_damaged_file_is_measured_again_and_replaced(choose, caplog, content):
    choose.file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert choose() == "explicit"
    assert f"'{choose.file}' cannot be used" in caplog.text
    caplog.clear()
    assert choose() == "explicit"
    assert (len(choose.measured), caplog.text) == (1, "")


def test_a_measurement_that_lacks_a_kernel_is_made_again(choose):
    choose()
    content = json.loads(choose.file.read_text())
    del content["measurements"][0]["seconds"]["sdpa"]
    choose.file.write_text(json.dumps(content))
    assert choose() == "explicit"
    assert len(choose.measured) == 2


def test_a_file_that_cannot_be_written_is_no_error(choose, caplog):
    choose.file.mkdir()
    with caplog.at_level(logging.WARNING):
        assert choose() == "explicit"
    assert "cannot be used" in caplog.text
    assert "cannot be written" in caplog.text


def test_what_is_asked_for_is_not_measured(choose):
    assert (choose("explicit"), choose("sdpa")) == ("explicit", "sdpa")
    assert choose.measured == []
    with pytest.raises(UnknownNameError, match="unknown attention kernel 'explicitt'; did you mean 'explicit'"):
        choose("explicitt")


def test_a_convolutional_network_has_none(tmp_path):
    backbone = load_root("efficientnet-lite0").backbone
    assert choose_attention("auto", backbone, CPU, "float32", 224, tmp_path) is None
    assert not (tmp_path / FILE_NAME).exists()
    with pytest.raises(
        ConfigError, match="'sdpa', but a network of family 'efficientnet-lite0' has none; leave it out"
    ):
        choose_attention("sdpa", backbone, CPU, "float32", 224, tmp_path)
