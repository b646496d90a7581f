"""Publishing a path: its test accuracy, read once, and its probe."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import takewhile

import torch

from mu2net.core.component import Digest
from mu2net.core.path import Path
from mu2net.data.task import TaskData
from mu2net.nn.backbone import Backbone
from mu2net.nn.chain import Chain, build_chain
from mu2net.search.arithmetic import path_compute
from mu2net.search.events import Observer, Preparing
from mu2net.search.probe import make_probe
from mu2net.store.records import CycleRecord
from mu2net.store.store import Store
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader
from mu2net.train.compute import thread_count
from mu2net.train.evaluate import evaluate
from mu2net.train.group import TrainConfig
from mu2net.train.prefix import Prefixes, make_prefix


def load_chain(store: Store, backbone: Backbone, path: Path, device: torch.device) -> Chain:
    """Return the network of a path on a device; every component is hashed when it is first loaded.

    Raises:
        ComponentError: A component is missing or damaged; names it.
    """
    parts = [(component.slot, store.load(component.digest)) for component in path.components]
    return build_chain(backbone, parts).to(device).eval()


def _shared(path: Path) -> list[tuple[str, Digest]]:
    """Return names and digests of the slots at the bottom of a path that its own task did not train."""
    shared = takewhile(lambda component: component.task != path.task, path.components)
    return [(component.slot.name, component.digest) for component in shared]


def publish_path(
    store: Store,
    backbone: Backbone,
    data: TaskData,
    cycle: CycleRecord,
    path: Path,
    config: TrainConfig,
    observer: Observer,
    cache: ActivationCache | None = None,
) -> Path:
    """Publish a path and return it; one that was live already keeps its test accuracy and its probe.

    Args:
        store: Where it is published.
        backbone: What its slots compute.
        data: The task's images; the test split is read here, once per path.
        cycle: The cycle that found it.
        path: The path.
        config: How it was trained: device and threads.
        observer: Told what happens.
        cache: Where activations of the slots that the path shares with others are kept; ``None`` to keep none.
    """
    if path.metrics is None:
        raise ValueError(f"path {path.id!r} was never measured")
    if path.metrics.test is not None:
        return store.publish(cycle, path.id, path.metrics, *store.probe(path.id))
    chain = load_chain(store, backbone, path, config.device)
    compute = path_compute(backbone, path, config.device)
    pipeline = Pipeline.from_hparams(path.hparams)
    with thread_count(config.threads):
        test = SplitReader("test", data.test, pipeline.without_augmentation(), compute)
        trunk = make_prefix(chain, _shared(path), {"test": test})
        prefixes = Prefixes(cache)
        evaluation = evaluate(
            partial(chain.forward_range, start=trunk.depth),
            data.test,
            pipeline,
            compute,
            name="test",
            entering=lambda batch: prefixes.activation(trunk, batch),
            on_batch=lambda done, total: observer(Preparing("testing the best path", done, total)),
        )
    probe, environment = make_probe(chain, data.validation, pipeline.image_size, compute)
    return store.publish(cycle, path.id, replace(path.metrics, test=evaluation.accuracy), probe, environment)
