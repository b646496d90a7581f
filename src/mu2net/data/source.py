"""Where a task's images come from: the part of a task that is stored and read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, field_validator

from mu2net.errors import ConfigError, SourceError, UnknownNameError

Role = Literal["train", "validation", "test"]
"""The name of a split."""

ROLES: tuple[Role, ...] = get_args(Role)
"""All splits, training first."""

DEMOS = ("digits", "mnist5k", "shapes")
"""The names of the built-in demo tasks, without ``demo:``."""

KINDS = "a folder, a .parquet or .csv file, hf:OWNER/NAME[:CONFIG] or demo:NAME"
"""What a source string may name, for messages."""

_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,63}")
_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[^:@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def check_task_name(name: str) -> str:
    """Return a task's name if it is safe as a file name and on a command line.

    Args:
        name: Lower-case letters, digits, ``-``, ``_`` and ``.``; at most 64; no dot or hyphen in front.

    Raises:
        ConfigError: The name is not safe; the message suggests one that is.
    """
    if _NAME.fullmatch(name):
        return name
    safe = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip(".-")[:64] or "task"
    raise ConfigError(
        f"task name {name!r} is not safe; expected 1 to 64 lower-case letters, digits, '-', '_' or '.', "
        f"without '.' or '-' in front; try {safe!r}"
    )


class HubSource(BaseModel):
    """A data set on the Hugging Face hub.

    Args:
        repo: ``OWNER/NAME``.
        config: Name of the configuration (subset); ``None`` for the only one.
        revision: Commit, tag or branch; ``None`` for the newest commit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        config = f":{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}{config}{revision}"


class DemoSource(BaseModel):
    """A built-in demo task.

    Args:
        name: One of ``DEMOS``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    def __str__(self) -> str:
        return f"demo:{self.name}"


def parse_source(text: str) -> HubSource | DemoSource | Path:
    """Return what a source string names; a path need not exist.

    Args:
        text: A path, ``hf:OWNER/NAME[:CONFIG][@REVISION]`` or ``demo:NAME``.

    Raises:
        SourceError: The string is empty, or begins with ``hf:`` and does not go on with ``OWNER/NAME``.
        UnknownNameError: There is no such demo task.
    """
    if not text.strip() or "\0" in text:
        raise SourceError(f"source {text!r} names nothing; expected {KINDS}")
    if text.startswith("demo:"):
        name = text.removeprefix("demo:")
        if name not in DEMOS:
            raise UnknownNameError("demo task", text, [f"demo:{demo}" for demo in DEMOS])
        return DemoSource(name=name)
    if text.startswith("hf:"):
        match = _HUB.fullmatch(text)
        if match is None:
            raise SourceError(
                f"source {text!r} is not a hub data set; expected hf:OWNER/NAME[:CONFIG][@REVISION], "
                "for instance hf:ylecun/mnist"
            )
        return HubSource(**match.groupdict())
    return Path(text).expanduser()


class TaskSource(BaseModel):
    """Everything that is needed to read a task's images again; immutable, round-trips through JSON.

    Args:
        name: The task's name, see ``check_task_name``.
        source: A path, ``hf:OWNER/NAME[:CONFIG][@REVISION]`` or ``demo:NAME``.
        validation: Another source for the validation split; ``None`` takes it from ``source``.
        test: Another source for the test split; ``None`` takes it from ``source``.
        image_column: Column of the images; ``None`` finds it.
        label_column: Column of the labels; ``None`` finds it.
        group_column: Column whose equal values never straddle two splits; ``None`` for no groups.
        skip_bad_images: Whether images that do not decode are counted and left out, instead of an error.

    Raises:
        ConfigError: The name is not safe.
        SourceError: A source string is malformed.
        UnknownNameError: A demo task is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    validation: str | None = None
    test: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    skip_bad_images: bool = False

    @field_validator("name")
    @classmethod
    def _name_is_safe(cls, name: str) -> str:
        return check_task_name(name)

    @field_validator("source", "validation", "test")
    @classmethod
    def _source_is_known(cls, source: str | None) -> str | None:
        if source is not None:
            parse_source(source)
        return source

    def pinned(self) -> TaskSource:
        """Return the same source so that it means the same from any folder and at any time.

        Paths become absolute; a hub data set gets the commit that is the newest now (this asks the hub, unless
        a revision is given already).

        Raises:
            SourceError: The hub does not know the data set, or cannot be reached.
        """
        return self.model_copy(
            update={
                "source": _pin(self.source),
                "validation": self.validation and _pin(self.validation),
                "test": self.test and _pin(self.test),
            }
        )


def _pin(text: str) -> str:
    parsed = parse_source(text)
    if isinstance(parsed, Path):
        return str(parsed.absolute())
    if isinstance(parsed, HubSource) and parsed.revision is None:
        from mu2net.data.hub import newest_revision  # the hub's client takes a second to import

        return str(parsed.model_copy(update={"revision": newest_revision(parsed)}))
    return str(parsed)
