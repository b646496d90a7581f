"""The model card of an exported task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def model_card(facts: Mapping[str, Any], library: str, example: str, side: int) -> str:
    """Return a model card in Markdown, with the front matter that the Hugging Face hub reads.

    Args:
        facts: From ``model_facts``.
        library: ``timm`` or ``pytorch``.
        example: A program that runs the model.
        side: Side of its square input, in pixels.
    """
    source = json.loads(facts["root_source"] or "{}")
    licence = str(source.get("license") or source.get("licence") or "unknown")
    front = [
        "---",
        f"library_name: {library}",
        "pipeline_tag: image-classification",
        "tags:",
        "- image-classification",
        "- mu2net",
    ]
    front += [f"license: {licence.lower()}"] if licence != "unknown" else []
    others = [task for task in facts["influence"] if task != facts["task"]]
    accuracies = [
        f"| top-1 accuracy, {name} split | {100 * facts[key]:.2f} % of {facts['num_images'].get(name, 0):,} images |"
        for name, key in (("validation", "validation_accuracy"), ("test", "test_accuracy"))
        if facts[key] is not None
    ]
    rows = "\n".join(
        f"| {entry['slot']} | `{entry['sha256'][:16]}` | {entry['trained_for'] or 'root'} |"
        for entry in facts["components"]
    )
    classes = ", ".join(f"`{name}`" for name in facts["classes"][:50]) + (" …" if len(facts["classes"]) > 50 else "")
    return "\n".join(
        [
            *front,
            "---",
            f"# {facts['task']}",
            "",
            f"An image classifier for {len(facts['classes'])} classes: {classes}.",
            "",
            "| | |",
            "|---|---|",
            *accuracies,
            f"| parameters | {facts['num_params']:,} |",
            f"| FLOPs of a prediction | {facts['flops'] or 0:,} |",
            f"| input | RGB, upright by EXIF, transparency on white; squeezed to {side} x {side} pixels "
            "(bilinear, antialiased) |",
            f"| fingerprint of the data (SHA-256) | `{facts['data_fingerprint']}` |",
            f"| found by | {facts['agent']}, path {facts['path']} |",
            f"| root | {facts['root']} |",
            f"| licence of the root | {licence} |",
            "",
            "The accuracy on the test split was measured once, when the path was published.",
            "",
            "## How to run it",
            "",
            "```python",
            example.rstrip(),
            "```",
            "",
            "## Whose data shaped it",
            "",
            f"The training images of `{facts['task']}`"
            + (
                f", and through components that it builds on those of {', '.join(f'`{name}`' for name in others)}"
                if others
                else ""
            )
            + ", on top of what the root was pretrained on.",
            "",
            "| slot | component (SHA-256) | trained for |",
            "|---|---|---|",
            rows,
            "",
        ]
    )
