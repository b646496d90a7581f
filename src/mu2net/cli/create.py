"""Commands that build a system up: ``init`` and ``add``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mu2net.cli.options import DEFAULT_SYSTEM, JsonOption, SystemOption
from mu2net.cli.output import console, plural, print_json, progress_console, quantity, say
from mu2net.cli.session import open_system, system_class, system_directory
from mu2net.cli.view import watching

if TYPE_CHECKING:
    from mu2net.system.summary import TaskSummary

_ROOT_HELP = (
    "The network to start from: efficientnet-lite0, hf:OWNER/NAME, file:PATH.safetensors, or "
    "vit:dim=192,depth=3,heads=3,patch=4,image=32 (random)."
)
_SOURCE_HELP = (
    "A folder of class folders, a Parquet or CSV file or folder, hf:OWNER/NAME or hf:OWNER/NAME:CONFIG, "
    "or demo:digits, demo:mnist5k, demo:shapes."
)

RootOption = Annotated[str, typer.Option(metavar="ROOT", help=_ROOT_HELP)]
ImageSizeOption = Annotated[
    int | None, typer.Option(metavar="PIXELS", min=1, help="Side of the input images; else the root's own.")
]
SeedOption = Annotated[int, typer.Option(metavar="N", help="Seed of all that is drawn at random.")]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="An empty PostgreSQL data base for the registry; else a file.",
        show_default=False,
    ),
]

NewNameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new task.")]
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=_SOURCE_HELP)]
AllowOption = Annotated[
    str | None,
    typer.Option("--allow-from", metavar="NAMES", help="The only tasks whose data may shape this one: A,B."),
]
DenyOption = Annotated[
    str | None, typer.Option("--deny-from", metavar="NAMES", help="Tasks whose data may not shape this one: A,B.")
]
PrivateOption = Annotated[bool, typer.Option("--private", help="What this task learns never reaches another task.")]
ValidationOption = Annotated[str | None, typer.Option(metavar="SOURCE", help="Source of the validation split.")]
TestOption = Annotated[str | None, typer.Option(metavar="SOURCE", help="Source of the test split.")]
ImageColumnOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the images.")]
LabelColumnOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of the labels.")]
GroupColumnOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column whose equal values never straddle two splits.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad-images", help="Count images that do not decode, and go on without them.")
]


def init(
    context: typer.Context,
    root: RootOption = "efficientnet-lite0",
    image_size: ImageSizeOption = None,
    seed: SeedOption = 0,
    registry: RegistryOption = None,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a system from a root network."""
    directory = system_directory(context, system)
    with system_class().create(directory, root=root, image_size=image_size, seed=seed, registry_url=registry) as made:
        place, spec, size, chosen = str(made.directory), made.root_spec, made.num_root_params, made.seed
    if as_json:
        print_json({"directory": place, "root": spec, "num_root_params": size, "seed": chosen})
        return
    out = console()
    say(out, f"Created a system in {place}")
    say(out, f"root {spec}, {quantity(size)} parameters, seed {chosen}")
    say(out, f"Next: mu2net add NAME SOURCE{_option(directory)}", "dim")


def add(
    context: typer.Context,
    name: NewNameArgument,
    source: SourceArgument,
    private: PrivateOption = False,
    allow_from: AllowOption = None,
    deny_from: DenyOption = None,
    val: ValidationOption = None,
    test: TestOption = None,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    group_column: GroupColumnOption = None,
    skip_bad_images: SkipOption = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a task: a data set of labelled images."""
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), name) as view:
        summary = opened.add_task(
            name,
            source,
            validation=val,
            test=test,
            image_column=image_column,
            label_column=label_column,
            group_column=group_column,
            is_private=private,
            allow_from=None if allow_from is None else _names(allow_from),
            deny_from=_names(deny_from or ""),
            skip_bad_images=skip_bad_images,
            observer=view,
        )
    if as_json:
        print_json(summary.to_dict())
    else:
        _print_added(summary, system_directory(context, system))


def _names(text: str) -> tuple[str, ...]:
    """Return the names in a list that is separated by commas."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _print_added(task: TaskSummary, directory: Path) -> None:
    kind = "private task" if task.is_private else "task"
    splits = f"{task.num_train:,} training, {task.num_validation:,} validation, {task.num_test:,} test images"
    out = console()
    say(out, f"Added {kind} {task.name}: {plural(len(task.classes), 'class')}; {splits}")
    if task.num_skipped:
        say(out, f"{plural(task.num_skipped, 'image')} that do not decode were left out", "yellow")
    say(out, f"Next: mu2net evolve {task.name}{_option(directory)}", "dim")


def _option(directory: Path) -> str:
    """Return the option by which the next command finds the same system."""
    return "" if directory == DEFAULT_SYSTEM else f" --system {directory}"
