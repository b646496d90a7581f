"""The plain loop in a process that holds nothing of mu2net: ``python -m benchmarks.plain_memory FOLDER``.

``FOLDER`` is what ``memory.export_children`` wrote. Every network trains a few steps and validates: memory does not
depend on how often that is repeated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from benchmarks.plain_loop import Images, PlainTraining, Recipe, ShuffledLoader
from benchmarks.plain_networks import PlainVit, freeze_all_but

_STEPS = 12


def main(folder: str) -> None:
    """Train all exported children, one after another."""
    source = Path(folder)
    job = json.loads((source / "job.json").read_text(encoding="utf-8"))
    train, validation = (
        Images(np.load(source / f"{split}.npy"), np.load(source / f"{split}-labels.npy"), job["mean"], job["std"])
        for split in ("train", "validation")
    )
    rng = np.random.default_rng(0)
    loader = ShuffledLoader(train, lambda _: rng.integers(0, len(train), job["batch_size"]))
    for number, trainable in enumerate(job["trainable"]):
        network = PlainVit(load_file(source / f"{number}.safetensors"), job["heads"], job["eps"])
        freeze_all_but(network, set(trainable))
        training = PlainTraining(network, loader, validation, Recipe(0.9, False, lambda _: 1e-3))
        training.train(0, _STEPS)
        training.validate()


if __name__ == "__main__":
    main(sys.argv[1])
