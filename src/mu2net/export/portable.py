"""A task's path, or several, as one plain module that takes pixels and gives logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mu2net.core.component import PrefixKey
from mu2net.core.path import Path
from mu2net.errors import ConfigError
from mu2net.nn.attention import select_kernel
from mu2net.nn.backbone import Backbone, Normalisation, Tensors
from mu2net.nn.chain import run_slot
from mu2net.nn.network import Part, Route
from mu2net.store.records import TaskRecord
from mu2net.store.store import Store
from mu2net.train.augment import Pipeline

PROBE_BATCH = 16
"""Images per batch when an export is compared with the path that it came from."""


@dataclass(frozen=True)
class TaskModel:
    """A task as it is handed out.

    Args:
        task: The task.
        path: Its live path.
        side: Side of the square input, in pixels.
        components: Tensors of every slot, in the order of computation.
        images: Real images of the task, uint8 ``[images, side, side, 3]``.
    """

    task: TaskRecord
    path: Path
    side: int
    components: tuple[tuple[Part, Tensors], ...]
    images: torch.Tensor

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def route(self) -> Route:
        """The path; two tasks with the same prefix key have the same activation there."""
        return Route(self.name, str(self.side), tuple(part for part, _ in self.components))


def load_task_model(store: Store, backbone: Backbone, name: str, images: torch.Tensor | None = None) -> TaskModel:
    """Return a task with all that belongs to it.

    Args:
        store: The system.
        backbone: What its slots compute.
        name: The task.
        images: Real images, uint8 ``[images, side, side, 3]``; those of the path's probe by default.

    Raises:
        ConfigError: The task was never evolved.
        ComponentError: A component is missing or damaged.
        UnknownNameError: There is no such task.
    """
    task, path = store.task(name), store.live_path(name)
    if path is None:
        raise ConfigError(f"task {name!r} has no path yet; run: mu2net evolve {name}")
    side = Pipeline.from_hparams(path.hparams).image_size
    parts = Route.of(name, str(side), path, backbone).parts
    components = tuple((part, store.load(part.digest)) for part in parts)
    return TaskModel(task, path, side, components, store.probe(path.id)[0]["images"] if images is None else images)


class PortableNetwork(nn.Module):
    """Paths of tasks as one module: pixels in, logits out, every shared slot once; float32.

    It takes one batch of uint8 RGB images ``[batch, side, side, 3]`` for every size of input that its paths have,
    smallest first, and returns logits ``[batch, classes]`` for every task, in their order.

    Args:
        backbone: What the slots compute.
        models: The tasks, at least one.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Backbone, models: Sequence[TaskModel]) -> None:
        super().__init__()
        self.sides = tuple(sorted({model.side for model in models}))
        self.names = tuple(model.name for model in models)
        normalisation: Normalisation = backbone.normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std), persistent=False)
        self.parts = nn.ModuleDict()
        self._steps: list[tuple[PrefixKey, PrefixKey, str, str]] = []
        self._ends = [model.route.keys[-1] for model in models]
        self._entries = {side: next(m.route.keys[0] for m in models if m.side == side) for side in self.sides}
        modules: dict[tuple[str, str], str] = {}
        known: set[PrefixKey] = set()
        for model in models:
            keys = model.route.keys
            for (part, tensors), before, after in zip(model.components, keys, keys[1:], strict=False):
                if after in known:
                    continue
                known.add(after)
                component = (part.slot.name, str(part.digest))
                if component not in modules:
                    modules[component] = f"{part.slot.name}_{part.digest[:12]}"
                    self.parts[modules[component]] = backbone.module(part.slot, tensors)
                self._steps.append((before, after, modules[component], part.computed_as))
        select_kernel(self, "explicit")
        self.eval()

    @property
    def num_params(self) -> int:
        """Number of parameters, shared ones once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the logits of every task.

        Args:
            images: For every input size, smallest first: uint8 images of shape ``[batch, side, side, 3]``.
        """
        activations: dict[PrefixKey, torch.Tensor] = {}
        for side, batch in zip(self.sides, images, strict=True):
            activations[self._entries[side]] = ((batch.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        for before, after, name, computed_as in self._steps:
            activations[after] = run_slot(self.parts[name], activations[before], computed_as)
        return tuple(activations[end] for end in self._ends)


def model_facts(store: Store, model: TaskModel) -> dict[str, Any]:
    """Return what people should know about a task that they get, JSON values only.

    Args:
        store: The system that it comes from.
        model: The task.
    """
    metrics = model.path.metrics
    return {
        "task": model.name,
        "classes": list(model.task.classes),
        "num_params": model.path.num_params,
        "flops": metrics.flops if metrics else None,
        "validation_accuracy": metrics.quality if metrics else None,
        "test_accuracy": metrics.test if metrics else None,
        "num_images": dict(model.task.counts),
        "data_fingerprint": model.task.fingerprint,
        "root": store.config.root,
        "root_source": store.config.root_source,
        "agent": model.path.agent,
        "path": model.path.id,
        "influence": sorted(model.path.influence),
        "components": [
            {"slot": component.slot.name, "sha256": component.digest, "trained_for": component.task}
            for component in model.path.components
        ],
    }
