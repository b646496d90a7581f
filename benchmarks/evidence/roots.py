"""Roots of the comparison: a short name, what mu2net loads, and the size of the input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu2net.core.anatomy import Anatomy
from mu2net.errors import ConfigError
from mu2net.nn.roots import load_root

_FILE = "file:"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Root:
    """A root.

    Args:
        name: Short name, for tables and as the ending of figures.
        spec: What ``System.create`` takes; a file's path is absolute.
        image_size: Side of the square input, in pixels; ``None`` for the root's own.
    """

    name: str
    spec: str
    image_size: int | None = None

    @classmethod
    def parse(cls, text: str, folder: Path) -> Root:
        """Return the root that ``NAME=SPEC[@SIZE]`` describes.

        What follows the last ``@`` is the size where it is a number, else a part of the root's own name.

        Args:
            text: The description.
            folder: What a relative path of ``file:PATH`` starts from.

        Raises:
            ConfigError: The text has another form.
        """
        name, equals, spec = text.partition("=")
        if not (equals and spec and _NAME.fullmatch(name)):
            raise ConfigError(
                f"root {text!r} is not of the form NAME=SPEC[@SIZE], NAME being lower-case letters, digits and _; "
                "for instance lite0=efficientnet-lite0@96"
            )
        rest, at, size = spec.rpartition("@")
        image_size = int(size) if at and size.isdecimal() else None
        if image_size is not None:
            spec = rest
        if spec.startswith(_FILE):
            spec = _FILE + str((folder / spec.removeprefix(_FILE)).resolve())
        return cls(name, spec, image_size)

    @property
    def label(self) -> str:
        """The spec as records keep it: the same on every machine, so a file's folder is left out."""
        return _FILE + Path(self.spec).name if self.spec.startswith(_FILE) else self.spec

    def anatomy(self) -> Anatomy:
        """Return the shape of the network; the root is loaded for it.

        Raises:
            RootError: The root cannot be read, or does not take its size.
            UnknownNameError: There is no such root.
        """
        return load_root(self.spec, image_size=self.image_size).backbone.anatomy

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"name": self.name, "spec": self.spec, "image_size": self.image_size}
