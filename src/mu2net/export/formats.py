"""The formats in which tasks are handed out."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from mu2net.errors import ConfigError
from mu2net.export import examples, timm_export
from mu2net.export.card import model_card
from mu2net.export.compare import Agreement, LogitArray, check_agreement
from mu2net.export.portable import PortableNetwork, TaskModel
from mu2net.nn.backbone import Backbone
from mu2net.nn.vit import Vit

ONNX_NAME, PROGRAM_NAME, WEIGHTS_NAME = "model.onnx", "model.pt2", "model.safetensors"


@dataclass(frozen=True)
class Job:
    """What is written.

    Args:
        folder: An empty folder.
        backbone: What slots compute.
        models: The tasks; one, except for ONNX.
        facts: What people should know about each.
        expected: The logits of each path for its real images.
    """

    folder: Path
    backbone: Backbone
    models: Sequence[TaskModel]
    facts: Sequence[Mapping[str, Any]]
    expected: Sequence[LogitArray]

    @property
    def model(self) -> TaskModel:
        """The only task."""
        (model,) = self.models
        return model

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file for people."""
        (self.folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_safetensors(job: Job) -> list[Agreement]:
    """Write weights with timm's names where the path is a plain vision transformer, else with those of its slots."""
    model, backbone = job.model, job.backbone
    reason = timm_export.why_not_plain(backbone, model)
    if reason is None and isinstance(backbone, Vit):
        tensors, config = timm_export.timm_tensors(model), timm_export.timm_config(backbone, model)
        (job.folder / "example.py").write_text(examples.TIMM, encoding="utf-8")
    else:
        tensors = timm_export.own_tensors(model)
        config = {
            "format": "mu2net slots",
            "not_for_timm_because": reason,
            "backbone": backbone.config(),
            "slots": [[part.slot.name, part.slot.kind, part.computed_as] for part, _ in model.components],
            "preprocessing": timm_export.preprocessing(backbone, model),
            "label_names": list(model.task.classes),
        }
    safetensors.torch.save_file(tensors, job.folder / WEIGHTS_NAME, metadata={"format": "pt"})
    job.write_json("config.json", config)
    job.write_json("labels.json", list(model.task.classes))
    job.write_json("facts.json", {**job.facts[0], "preprocessing": _weights_pixels(backbone, model)})
    written = safetensors.torch.load_file(job.folder / WEIGHTS_NAME)
    return [_check_weights(job, written)]


def _check_weights(job: Job, written: Mapping[str, torch.Tensor]) -> Agreement:
    """Compare the answers of the weights as they lie on the disk."""
    is_plain = timm_export.why_not_plain(job.backbone, job.model) is None
    names = timm_export.timm_tensors(job.model) if is_plain else timm_export.own_tensors(job.model)
    left = iter(names)  # in the order of the path's own tensors
    components = tuple(
        (part, {name: written[next(left)] for name in tensors}) for part, tensors in job.model.components
    )
    network = PortableNetwork(job.backbone, [replace(job.model, components=components)])
    return check_agreement("safetensors", lambda images: _run(network, images), job.model, job.expected[0])


def write_program(job: Job) -> list[Agreement]:
    """Write a program of ``torch.export``: pixels in, logits out, with any batch size."""
    network = PortableNetwork(job.backbone, job.models)
    with _quiet(), torch.no_grad():
        exported = torch.export.export(network, _examples(network), dynamic_shapes=_shapes(network))
        torch.export.save(exported, job.folder / PROGRAM_NAME)
        loaded = torch.export.load(job.folder / PROGRAM_NAME).module()
    job.write_json("labels.json", list(job.model.task.classes))
    job.write_json("facts.json", {**job.facts[0], "preprocessing": _pixels(network.sides[0])})
    (job.folder / "example.py").write_text(examples.PROGRAM, encoding="utf-8")
    return [check_agreement("torch.export", lambda images: _run(loaded, images), job.model, job.expected[0])]


def write_onnx(job: Job) -> list[Agreement]:
    """Write one ONNX graph for all tasks: an input for every size, an output for every task, the shared trunk once."""
    onnxruntime = _need("onnxruntime")
    _need("onnxscript")
    network = PortableNetwork(job.backbone, job.models)
    inputs = [f"images_{side}" for side in network.sides] if len(network.sides) > 1 else ["images"]
    outputs = [f"logits/{name}" for name in network.names] if len(network.names) > 1 else ["logits"]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            _examples(network),
            dynamo=True,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=_shapes(network),
            verbose=False,
        )
    assert program is not None
    program.save(str(job.folder / ONNX_NAME))
    session = onnxruntime.InferenceSession(str(job.folder / ONNX_NAME), providers=["CPUExecutionProvider"])
    found = []
    for model, expected, output in zip(job.models, job.expected, outputs, strict=True):

        def run(images: NDArray[np.uint8], side: int = model.side, output: str = output) -> LogitArray:
            blank = {
                name: images if size == side else np.zeros((len(images), size, size, 3), np.uint8)
                for name, size in zip(inputs, network.sides, strict=True)
            }
            logits: LogitArray = session.run([output], blank)[0]
            return logits

        found.append(check_agreement("ONNX", run, model, expected))
    facts = [
        {
            **facts,
            "input": inputs[network.sides.index(model.side)],
            "output": output,
            "preprocessing": _pixels(model.side),
        }
        for facts, model, output in zip(job.facts, job.models, outputs, strict=True)
    ]
    job.write_json("labels.json", {model.name: list(model.task.classes) for model in job.models})
    job.write_json("facts.json", facts)
    (job.folder / "example.py").write_text(examples.ONNX, encoding="utf-8")
    return found


def write_hub_folder(job: Job) -> list[Agreement]:
    """Write a folder in the style of the Hugging Face hub: weights, configuration, and a model card."""
    found = write_safetensors(job)
    if not (
        job.folder / "example.py"
    ).exists():  # no library builds this network from its weights: a program comes along
        found += write_program(job)
    library = "timm" if timm_export.why_not_plain(job.backbone, job.model) is None else "pytorch"
    example = (job.folder / "example.py").read_text(encoding="utf-8")
    (job.folder / "README.md").write_text(model_card(job.facts[0], library, example, job.model.side), encoding="utf-8")
    return found


def _weights_pixels(backbone: Backbone, model: TaskModel) -> dict[str, Any]:
    """Return how an image becomes the input of a network that is built from weights."""
    return {"decode": timm_export.DECODING, **timm_export.preprocessing(backbone, model)}


def _pixels(side: int) -> dict[str, Any]:
    """Return how an image becomes the input of a graph that normalises by itself."""
    return {
        "decode": timm_export.DECODING,
        "size": [side, side],
        "resize": "squash (Pillow, bilinear, antialiased)",
        "colour": "RGB",
        "layout": "batch, height, width, channels",
        "type": "uint8",
    }


def _examples(network: PortableNetwork) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(2, side, side, 3, dtype=torch.uint8) for side in network.sides)


def _shapes(network: PortableNetwork) -> tuple[tuple[dict[int, Any], ...]]:
    """Return that every input may have any number of images, the same for all."""
    batch = torch.export.Dim("batch", min=1)
    return (tuple({0: batch} for _ in network.sides),)


def _run(network: Any, images: NDArray[np.uint8]) -> LogitArray:
    with torch.inference_mode():
        logits: LogitArray = network(torch.from_numpy(images))[0].numpy()
    return logits


def _need(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"ONNX needs {error.name}; install it: pip install 'mu2net[onnx]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what PyTorch's exporters say about themselves from people."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
