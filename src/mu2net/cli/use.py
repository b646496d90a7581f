"""Commands that use a task's path: ``predict`` and ``eval``."""

from __future__ import annotations

from collections.abc import Iterable
from csv import writer as csv_writer
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mu2net.cli.inspection import TaskArgument
from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, error_console, plural, print_json, progress_console, say
from mu2net.cli.session import open_system
from mu2net.cli.tables import evaluation_table, prediction_table
from mu2net.cli.view import watching
from mu2net.errors import ConfigError, ImageError, SourceError, UnknownNameError

if TYPE_CHECKING:
    from mu2net.system.summary import Prediction

SPLITS = ("train", "validation", "test")
"""The splits of a task."""


def predict(
    context: typer.Context,
    names: Annotated[
        str,
        typer.Argument(
            metavar="TASKS", help="A task, several as a,b, or all that were evolved: '*'.", show_default=False
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.", show_default=False)
    ],
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes to list per image.")] = 5,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file instead of a table.")
    ] = None,
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="Report images that do not decode, and go on.")
    ] = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify images with the paths of one or many tasks; what paths share is computed once."""
    if csv is not None and as_json:
        raise ConfigError("--csv and --json exclude each other; choose one")
    tasks, bad = [name.strip() for name in names.split(",") if name.strip()], list[ImageError]()
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), names) as view:
        check = partial(opened.predict_many, tasks, top=top, on_bad_image=bad.append if skip_bad_images else None)
        check([])  # a mistyped task is said before files are looked for
        predictions = check(image_files(images), observer=view)
        if csv is not None:
            count = write_predictions(csv, predictions, top)
        else:
            found = list(predictions)
    if csv is not None:
        say(console(), f"{plural(count, 'prediction')} in {csv}")
    elif as_json:
        print_json([prediction.to_dict() for prediction in found])
    else:
        console().print(prediction_table(found))
    for error in bad:
        say(error_console(), f"left out: {error}", "yellow")


def write_predictions(file: Path, predictions: Iterable[Prediction], top: int) -> int:
    """Write predictions to a CSV file, which appears when it is complete, and return how many there were.

    Args:
        file: The file; another one of its name is replaced.
        predictions: A row each: image, task, then label and probability of the ``top`` best classes.
        top: How many classes a row has; the last ones are empty where a task has fewer.

    Raises:
        ConfigError: The file cannot be written.
    """
    columns = ["image", "task", "label", "probability"]
    columns += [f"{name}_{place}" for place in range(2, top + 1) for name in ("label", "probability")]
    unfinished, count = file.with_name(f".{file.name}.unfinished"), 0
    try:
        with unfinished.open("w", newline="", encoding="utf-8") as stream:
            writer = csv_writer(stream)
            writer.writerow(columns)
            for prediction in predictions:
                cells = [cell for label, share in prediction.top for cell in (label, f"{share:.6f}")]
                row = [prediction.image, prediction.task, *cells]
                writer.writerow(row + [""] * (len(columns) - len(row)))
                count += 1
        unfinished.replace(file)
    except OSError as error:
        raise ConfigError(f"--csv '{file}' cannot be written: {error.strerror}; choose another place") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


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
    from mu2net.data.decode import image_suffixes

    known = image_suffixes()
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
