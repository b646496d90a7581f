"""Commands that use a task's path: ``predict`` and ``eval``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mu2net.cli.inspection import TaskArgument
from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, print_json, progress_console
from mu2net.cli.session import open_system
from mu2net.cli.tables import evaluation_table, prediction_table
from mu2net.cli.view import watching
from mu2net.errors import SourceError, UnknownNameError

SPLITS = ("train", "validation", "test")
"""The splits of a task."""


def predict(
    context: typer.Context,
    name: TaskArgument,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.", show_default=False)
    ],
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes to list per image.")] = 5,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify images with the path of a task."""
    with open_system(context, system) as opened:
        opened.task(name)
        predictions = opened.predict(name, image_files(images), top=top)
    if as_json:
        print_json([prediction.to_dict() for prediction in predictions])
    else:
        console().print(prediction_table(predictions))


def evaluate(
    context: typer.Context,
    name: TaskArgument,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="train, validation or test.")] = "test",
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the accuracy of a task's path anew."""
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), name) as view:
        summary = opened.evaluate(name, split=split, observer=view)
    if as_json:
        print_json(summary.to_dict())
    else:
        console().print(evaluation_table(summary))


def image_files(given: Iterable[Path]) -> list[Path]:
    """Return the image files that were named, folders replaced by the images below them in alphabetical order.

    Args:
        given: Files and folders.

    Raises:
        SourceError: A file does not exist, or a folder holds no image.
    """
    from PIL import Image

    known = Image.registered_extensions()
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in known and file.is_file())
            if not found:
                raise SourceError(f"folder '{path}' holds no image; expected files such as .png or .jpg")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise SourceError(f"image '{path}' does not exist; expected an image file or a folder of images")
    return files
