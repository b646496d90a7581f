"""Hands out tasks: everything is written beside the place where it shall be, compared, and then moved there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mu2net.data.task import UInt8Array
from mu2net.errors import ConfigError, DataError, UnknownNameError
from mu2net.export import formats
from mu2net.export.compare import Agreement, reference_logits
from mu2net.export.portable import load_task_model, model_facts
from mu2net.nn.roots import backbone_from_config
from mu2net.search.events import Observer, Preparing, ignore
from mu2net.search.images import load_recorded_task
from mu2net.store.store import Store
from mu2net.train.augment import Pipeline

FORMATS: dict[str, Callable[[formats.Job], list[Agreement]]] = {
    "safetensors": formats.write_safetensors,
    "onnx": formats.write_onnx,
    "torch": formats.write_program,
    "hf": formats.write_hub_folder,
}
"""What writes each format."""


COMPARED = 64
"""Real images on which an export is compared with the path, where the task has as many."""


@dataclass(frozen=True)
class Exported:
    """What was handed out.

    Args:
        folder: Where it is.
        files: Names of the files.
        num_bytes: Their size.
        tasks: The tasks in it.
        left_out: Private tasks that were not named, and are not in it.
        images: Real images on which it was compared with the paths.
        difference: Largest difference of a logit.
        notes: What else should be known.
    """

    folder: str
    files: tuple[str, ...]
    num_bytes: int
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    images: int
    difference: float
    notes: tuple[str, ...] = ()


def export_tasks(
    directory: Path, names: Sequence[str], format_name: str, folder: Path, observer: Observer = ignore
) -> Exported:
    """Hand out one task, or several as one ONNX graph.

    Args:
        directory: The folder of the system.
        names: Tasks; ``["*"]`` for all that have a path and are not private.
        format_name: One of ``FORMATS``.
        folder: Where; it must not exist, or be empty.
        observer: Told about progress.

    Raises:
        ConfigError: A task was never evolved, the format takes one task only, or the folder is not empty.
        ExportError: It would answer otherwise than the path; nothing was written.
        UnknownNameError: There is no such task or format.
    """
    if format_name not in FORMATS:
        raise UnknownNameError("format", format_name, FORMATS)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out '{folder}' is there already; name a new folder, or an empty one")
    store = Store.open(directory)
    chosen, left_out = _choose(store, names)
    if len(chosen) != 1 and format_name != "onnx":
        raise ConfigError(
            f"format {format_name!r} takes one task, found {len(chosen)}: {', '.join(chosen)}; "
            "export them one by one, or all in one graph with --format onnx"
        )
    backbone = backbone_from_config(store.config.backbone)
    found = {name: _real_images(store, name, observer) for name in chosen}
    models = [load_task_model(store, backbone, name, found[name][0]) for name in chosen]
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        facts, expected = (
            [model_facts(store, model) for model in models],
            [reference_logits(backbone, m) for m in models],
        )
        agreements = FORMATS[format_name](formats.Job(draft, backbone, models, facts, expected))
        files = sorted(file for file in draft.rglob("*") if file.is_file())
        names_of_files = tuple(str(file.relative_to(draft)) for file in files)
        size = sum(file.stat().st_size for file in files)
        draft.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(
        folder=str(folder),
        files=names_of_files,
        num_bytes=size,
        tasks=tuple(chosen),
        left_out=tuple(left_out),
        images=sum(agreement.images for agreement in agreements),
        difference=max(agreement.difference for agreement in agreements),
        notes=tuple(note for _, note in found.values() if note),
    )


def _real_images(store: Store, name: str, observer: Observer) -> tuple[torch.Tensor | None, str]:
    """Return images on which an export is compared; ``None``, and why, where there are those of the probe alone."""
    path = store.live_path(name)
    if path is None:
        return None, ""  # which is said where the path is loaded
    side = Pipeline.from_hparams(path.hparams).image_size
    try:
        data = load_recorded_task(store, name, lambda done, total: observer(Preparing(f"reading {name}", done, total)))
    except DataError as error:
        return None, f"the images of {name!r} cannot be read, so it was compared on those of its probe alone: {error}"
    found: list[UInt8Array] = []
    for split in (data.validation, data.test, data.train):
        missing = COMPARED - sum(map(len, found))
        found.append(np.array(split.pixels(side)[np.arange(min(missing, len(split)))]))
    return torch.from_numpy(np.concatenate(found)), ""


def _choose(store: Store, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the tasks that are named, and the private ones that ``*`` leaves out."""
    tasks = store.tasks()
    evolved = {path.task for path in store.live_paths()}
    if list(names) != ["*"]:
        for name in names:
            store.task(name)
        return list(dict.fromkeys(names)), []
    public = [task.name for task in tasks if task.name in evolved and not task.is_private]
    if not public:
        raise ConfigError("no task that is not private has a path yet; run: mu2net evolve NAME")
    return public, [task.name for task in tasks if task.name in evolved and task.is_private]
