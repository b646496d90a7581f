from __future__ import annotations

import shutil

import pytest
import torch

from mu2net.core.path import Metrics, Path
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.nn.roots import backbone_from_config
from mu2net.search.arithmetic import path_compute, path_precision, recorded_attention
from mu2net.search.budget import Budget
from mu2net.search.events import ChildRecorded
from mu2net.store.store import Store
from mu2net.train import kernel
from mu2net.train.compute import Compute

CPU = torch.device("cpu")


@pytest.fixture
def fastest(monkeypatch):
    """Says which kernel is measured to be faster; keeps the number of threads of every measurement."""

    def pretend(name):
        def measure(*_):
            threads.append(torch.get_num_threads())
            return {each: 1.0 if each == name else 2.0 for each in ("explicit", "sdpa")}

        threads = []
        monkeypatch.setattr(kernel, "time_kernels", measure)
        return threads

    return pretend


def path_with(**extra):
    return Path("one/0/0/0", "one", (), {}, metrics=Metrics(0.5, 1, extra=extra))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["explicit", "sdpa"])
def test_a_path_runs_as_it_was_trained(store, precision, attention):
    backbone = backbone_from_config(store.config.backbone)
    path = path_with(precision=precision, attention=attention)
    assert path_compute(backbone, path, CPU) == Compute.of(backbone, CPU, precision, attention)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_path_without_a_recorded_kernel_runs_by_the_fixed_rule(store, precision):
    backbone = backbone_from_config(store.config.backbone)
    for path in (path_with(precision=precision), path_with(precision=precision, attention=None)):
        assert path_compute(backbone, path, CPU) == Compute.of(backbone, CPU, precision)
    assert path_compute(backbone, store.root(), CPU) == Compute.of(backbone, CPU, "float32")
    assert path_precision(path_with()) == "float32"
    assert recorded_attention({}) is None


def test_the_faster_kernel_is_measured_once_and_recorded_with_cycle_and_children(lab, fastest):
    measured = fastest("explicit")
    torch.set_num_threads(2)
    for task in ("one", "two"):
        path = lab.run(task, attention="auto", threads=1)
        assert {child.path.metrics.extra["attention"] for child in lab.store.children(task)} == {"explicit"}
        assert lab.store.cycles(task)[0].config["attention"] == "explicit"
        assert lab.store.probe(path.id)[1]["attention"] == "explicit"
    assert measured == [1]


def test_what_is_asked_for_is_not_measured(lab, fastest):
    measured = fastest("explicit")
    lab.run("one", attention="sdpa")
    assert {child.path.metrics.extra["attention"] for child in lab.store.children("one")} == {"sdpa"}
    assert measured == []


def test_the_kernel_is_that_of_the_size_at_which_the_cycle_starts(lab, monkeypatch):
    shapes = []
    monkeypatch.setattr(kernel, "time_kernels", lambda shape, *_: shapes.append(shape) or {"explicit": 1, "sdpa": 2})
    lab.run("one", children=1, attention="auto")
    lab.run("one", children=1, attention="auto", hparams={"opt_lr": 0.1, "ds_image_size": 12})
    assert [shape.tokens for shape in shapes] == [5, 10]


def test_a_kernel_that_does_not_exist_leaves_nothing_behind(lab):
    with pytest.raises(UnknownNameError, match="unknown attention kernel 'sdp'; did you mean 'sdpa'"):
        lab.run("one", attention="sdp")
    assert lab.store.cycles("one") == []


def digests(store):
    return [child.path.digests for child in store.children("one")], store.live_path("one").digests


def interrupt(lab):
    """Start a cycle of four children and end it behind the first generation."""

    class Killed(BaseException):
        pass

    def watch(event):
        if isinstance(event, ChildRecorded) and len(lab.told(ChildRecorded)) == 2:
            raise Killed

    lab.watch = watch
    with pytest.raises(Killed):
        lab.run("one", children=4, attention="auto")
    lab.watch = lambda event: None


def test_an_interrupted_cycle_keeps_its_kernel_whatever_is_measured_later(lab, make_lab, template, tmp_path, fastest):
    fastest("explicit")
    whole = make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))
    whole.run("one", children=4, attention="auto")
    interrupt(lab)
    (lab.store.directory / "cache" / kernel.FILE_NAME).unlink()
    measured = fastest("sdpa")
    lab.resume("one", Budget(children=4))
    assert digests(lab.store) == digests(whole.store)
    assert measured == []
    other = make_lab(Store.open(shutil.copytree(template, tmp_path / "other")))
    other.run("one", children=4, attention="auto")
    assert digests(other.store) != digests(whole.store)


def test_an_interrupted_cycle_that_recorded_no_kernel_goes_on_by_the_fixed_rule(
    lab, make_lab, template, tmp_path, fastest, monkeypatch
):
    fastest("sdpa")
    whole = make_lab(Store.open(shutil.copytree(template, tmp_path / "whole")))
    whole.run("one", children=4, precision="float32", attention="sdpa")
    lab.run("one", children=2, precision="float32", attention="auto")
    record = lab.store.cycles("one")[0]
    old = {name: value for name, value in record.config.items() if name != "attention"}
    del old["search"]["attention"]
    measured = fastest("explicit")
    again = make_lab(Store.open(shutil.copytree(template, tmp_path / "again")))
    record = again.store.start_cycle("one", record.agent, record.seed, old)
    again.cycle("one", Budget(children=4), record).run()
    assert measured == []
    assert digests(again.store) == digests(whole.store)


def test_a_network_without_attention_has_no_kernel(lab, fastest, monkeypatch):
    from mu2net.nn.vit import Vit

    measured = fastest("explicit")
    monkeypatch.setattr(Vit, "attention_shape", lambda self, image_size: None)
    lab.run("one", children=1, attention="auto")
    assert lab.store.cycles("one")[0].config["attention"] is None
    assert measured == []
    with pytest.raises(ConfigError, match=r"attention is 'explicit', but a network of family 'vit' has none"):
        lab.run("two", attention="explicit")
    assert lab.store.cycles("two") == []
