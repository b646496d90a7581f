"""What the shared trunk gains inside one process, without HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
from PIL import Image

from mu2net.data.decode import squeeze
from mu2net.export.task import export_tasks
from mu2net.nn.chain import Chain
from mu2net.nn.int8 import to_int8
from mu2net.nn.roots import backbone_from_config
from mu2net.search.publication import load_chain
from mu2net.store.store import Store
from mu2net.system import System
from mu2net.system.classifier import ServingPrecision, serving_compute
from mu2net.train.augment import Pipeline
from mu2net.train.compute import Compute

CPU = torch.device("cpu")


class Single:
    """The model of one task by itself, with parameters of its own.

    Args:
        store: The system.
        task: The task.
        precision: What it computes in; that which its path was trained in by default.
    """

    def __init__(self, store: Store, task: str, precision: ServingPrecision | None = None) -> None:
        backbone = backbone_from_config(store.config.backbone)
        path = store.live_path(task)
        assert path is not None
        self.chain: Chain = load_chain(store, backbone, path, CPU)
        if precision == "int8":
            to_int8(self.chain)
        self.compute: Compute = serving_compute(backbone, path, CPU, precision)
        self.side = Pipeline.from_hparams(path.hparams).image_size

    def inputs(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return RGB images of any size as the network takes them."""
        pixels = torch.stack([torch.from_numpy(squeeze(image, self.side).copy()) for image in images])
        return self.compute.inputs(pixels)

    @torch.inference_mode()
    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of normalised images."""
        with self.compute.arithmetic():
            found: torch.Tensor = self.chain(inputs)
        return found

    def logits(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return the logits of RGB images of any size."""
        return self.run(self.inputs(images))


def all_tasks_speedup(folder: Path, image: Image.Image, pairs: int) -> tuple[list[float], float]:
    """Return how many times as fast all tasks answer for one image as separate models do, and the largest difference.

    Args:
        folder: The system.
        image: An RGB image.
        pairs: How often both are measured, one after the other.
    """
    store = Store.open(folder)
    with System.open(folder) as system:
        classifier = system.classifier()
        edition = classifier.edition()
        names = list(edition.tasks)
        singles = [Single(store, name) for name in names]

        def ours() -> list[torch.Tensor]:
            found = classifier.classify(edition, [image], {name: [0] for name in names})
            return [torch.from_numpy(found.logits[name]) for name in names]

        def theirs() -> list[torch.Tensor]:
            return [single.logits([image]) for single in singles]

        difference = max(float((a - b).abs().max()) for a, b in zip(ours(), theirs(), strict=True))
        ratios = faster(ours, theirs, pairs)
    return ratios, difference


def onnx_speedup(folder: Path, task: str, image: Image.Image, pairs: int) -> tuple[list[float], float]:
    """Return how many times as fast onnxruntime answers for one image as PyTorch, and the largest difference.

    Both in float32 with as many threads as PyTorch has now; neither counts what makes pixels of a file.

    Args:
        folder: The system.
        task: The task; it is exported beside the system, and removed again.
        image: An RGB image.
        pairs: How often both are measured, one after the other.
    """
    import onnxruntime

    single = Single(Store.open(folder), task, "float32")
    out = folder.with_name("exported")
    shutil.rmtree(out, ignore_errors=True)
    export_tasks(folder, [task], "onnx", out)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(out / "model.onnx"), options, providers=["CPUExecutionProvider"])
    pixels = squeeze(image, single.side)[None].copy()
    inputs = single.inputs([image])

    def ours() -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"images": pixels})[0])

    difference = float((ours() - single.run(inputs)).abs().max())
    ratios = faster(ours, lambda: single.run(inputs), pairs)
    shutil.rmtree(out)
    return ratios, difference


def int8_speedup(folder: Path, task: str, images: Sequence[Image.Image], pairs: int) -> list[float]:
    """Return how many times as fast a path computes in 8-bit integers as in float32.

    Args:
        folder: The system.
        task: The task.
        images: RGB images, one batch.
        pairs: How often both are measured, one after the other.
    """
    store = Store.open(folder)
    small, full = Single(store, task, "int8"), Single(store, task, "float32")
    inputs = full.inputs(images)
    return faster(lambda: small.run(inputs), lambda: full.run(inputs), pairs)


def faster(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> list[float]:
    """Return how many times as fast one of two is as the other, measured in turns; a first pair does not count."""
    ratios = []
    for _ in range(pairs + 1):
        started = perf_counter()
        theirs()
        between = perf_counter()
        ours()
        ratios.append((between - started) / (perf_counter() - between))
    return ratios[1:]


def memory_ratio(folder: Path, repeats: int) -> tuple[list[float], dict[str, list[int]]]:
    """Return the memory of all tasks through one network, over that of as many models by themselves.

    Each is measured in a process of its own: what it has when it has answered, less what it had before it loaded any.

    Args:
        folder: The system.
        repeats: How often.
    """
    found: dict[str, list[int]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for side in found:
            command = [sys.executable, "-m", "benchmarks.serving.inside", side, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            found[side].append(int(json.loads(done.stdout)))
    return [a / b for a, b in zip(found["ours"], found["theirs"], strict=True)], found


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _memory(side: str, folder: Path) -> int:
    store, image = Store.open(folder), Image.new("RGB", (64, 64))
    names = [path.task or "" for path in store.live_paths()]
    torch.nn.Linear(64, 64)(torch.zeros(1, 64))  # what the library itself needs is not counted
    before = resident()
    if side == "theirs":
        singles = [Single(store, name) for name in names]
        for single in singles:
            single.logits([image])
        return resident() - before
    with System.open(folder) as system:
        classifier = system.classifier()
        classifier.classify(classifier.edition(), [image], {name: [0] for name in names})
        return resident() - before


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(_memory(sys.argv[1], Path(sys.argv[2]))))
