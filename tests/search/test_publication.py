from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from mu2net.errors import ComponentError
from mu2net.nn.precision import choose_device
from mu2net.nn.roots import backbone_from_config
from mu2net.search.arithmetic import path_compute
from mu2net.search.budget import Budget
from mu2net.search.events import ChildRecorded, Preparing
from mu2net.search.images import load_recorded_task
from mu2net.search.publication import load_chain, publish_path
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.augment import Pipeline
from mu2net.train.evaluate import evaluate
from mu2net.train.group import TrainConfig


def test_the_recorded_test_accuracy_is_that_of_the_published_path(lab):
    path = lab.run("one")
    backbone, device = backbone_from_config(lab.store.config.backbone), choose_device("cpu")
    measured = evaluate(
        load_chain(lab.store, backbone, path, device),
        load_recorded_task(lab.store, "one").test,
        Pipeline.from_hparams(path.hparams),
        path_compute(backbone, path, device),
        name="test",
    )
    assert path.metrics.test == measured.accuracy
    assert {event.what for event in lab.told(Preparing)} == {"testing the best path"}


def test_the_test_split_is_read_once_per_published_path(lab, monkeypatch):
    from mu2net.search import publication

    read = []
    monkeypatch.setattr(
        publication, "evaluate", lambda *args, **given: read.append(args[1]) or evaluate(*args, **given)
    )
    path = lab.run("one", children=4)
    assert len(read) == 1
    lab.stop = lambda: "interval"
    assert lab.run("one") == path
    assert len(read) == 1


def test_a_damaged_component_of_the_best_child_is_not_published(lab):
    def damage(event):
        if isinstance(event, ChildRecorded):
            file = lab.store.components.file(event.path.component("head").digest)
            file.chmod(0o644)
            file.write_bytes(file.read_bytes()[:-1])

    lab.watch = damage
    with pytest.raises(ComponentError, match=r"is truncated"):
        lab.cycle("one", Budget(children=1)).run()
    assert lab.store.live_path("one") is None
    assert lab.store.running_cycle("one")


def test_the_test_accuracy_does_not_depend_on_what_was_kept(lab, tmp_path):
    path = lab.run("one", agent="linear")
    backbone, device, found = backbone_from_config(lab.store.config.backbone), choose_device("cpu"), []
    recorded = replace(path, metrics=replace(path.metrics, test=None))
    for limit in (10**9, 10**9):
        cache = ActivationCache(tmp_path, limit)
        record = SimpleNamespace(publish=lambda *_: found.append(_[2].test), load=lab.store.load)
        data = load_recorded_task(lab.store, "one")
        publish_path(record, backbone, data, None, recorded, TrainConfig(1, 1, device=device, threads=1), print, cache)
    assert found == [path.metrics.test] * 2
    assert list(tmp_path.glob("*.activations"))
