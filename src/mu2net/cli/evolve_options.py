"""The options of ``evolve``, in the groups in which its help shows them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

BUDGET = "Budget per task (the first that is used up ends the cycle; what was found is published)"
SEARCH = "Search"
CHILD = "Training of a child"
MACHINE = "Machine"

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", show_default=False, help="Tasks to evolve; all, in the order of adding, where none is named."
    ),
]
Time = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", rich_help_panel=BUDGET, help="Time, as in 90s, 10m, 1h30m; 10m where no budget is given at all."
    ),
]
Children = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=BUDGET,
        help="At most this many children. A baseline trains one generation; each run spends the examples of them all.",
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=BUDGET,
        help="At most this many training examples, over all children. A baseline trains one generation; each run "
        "spends them all.",
    ),
]
Agent = Annotated[
    str | None,
    typer.Option(metavar="AGENT", rich_help_panel=SEARCH, help="The policy, see mu2net agents; else mu2net."),
]
SizePenalty = Annotated[
    float | None,
    typer.Option(
        "--s-size", metavar="S", rich_help_panel=SEARCH, help="Size penalty in ]0, 1]; else 1, which is none."
    ),
]
ComputePenalty = Annotated[
    float | None,
    typer.Option(
        "--s-compute", metavar="S", rich_help_panel=SEARCH, help="Compute penalty in ]0, 1]; else 1, which is none."
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", rich_help_panel=SEARCH, help="Seed; else the system's.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        rich_help_panel=SEARCH,
        help="Starting value of a hyperparameter; may be repeated.",
    ),
]
Fixed = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        metavar="NAME",
        help="Hyperparameter that keeps its starting value, such as ds_image_size; may be repeated.",
        show_default=False,
        rich_help_panel=SEARCH,
    ),
]
GenerationSize = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, rich_help_panel=SEARCH, help="Children that are sampled and trained together."),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart", rich_help_panel=SEARCH, help="Abandon an interrupted cycle, instead of going on with it."
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", min=1, rich_help_panel=CHILD, help="Images per training step.")
]
NumValidations = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, rich_help_panel=CHILD, help="Intervals; each ends with a validation."),
]
ExamplesPerValidation = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, rich_help_panel=CHILD, help="Training examples per interval; else planned from the time."
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(rich_help_panel=MACHINE, help="Arithmetic; else auto."),
]
Attention = Annotated[
    Literal["auto", "explicit", "sdpa"] | None,
    typer.Option(
        rich_help_panel=MACHINE,
        help="How attention is computed; else auto, what is faster when it is first measured on this machine. "
        "Bits depend on it.",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | None,
    typer.Option(rich_help_panel=MACHINE, help="Where to compute; else auto."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        rich_help_panel=MACHINE,
        help="Worker processes; else one per core, at most one per child of a generation. "
        "Results do not depend on their number.",
    ),
]
Views = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        rich_help_panel=CHILD,
        help="Augmented views per image that are drawn once and kept: faster, with less variety. 0, the default, "
        "augments anew in every epoch.",
    ),
]
RoundingOption = Annotated[
    Literal["exact", "bfloat16"] | None,
    typer.Option(
        "--rounding",
        rich_help_panel=MACHINE,
        help="Whether activations that enter trained slots are rounded, which halves the room of kept ones; "
        "else exact.",
    ),
]
CacheLimit = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=MACHINE,
        help="Disk space for kept activations, as in 500MB or 20GB; 0 for none. Else 20 % of the free disk, at most "
        "20 % of the memory. Results do not depend on it.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, rich_help_panel=MACHINE, help="Threads per worker; else 1.")
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHERE",
        rich_help_panel=MACHINE,
        help="Also write curves, hyperparameters and results to tensorboard:FOLDER or mlflow:URI while it runs; may be "
        "given again.",
    ),
]
