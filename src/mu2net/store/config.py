"""``mu2net.toml``: what a system is, small and for people."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mu2net.errors import FormatError, StoreError
from mu2net.store.migrate import mu2net_version

CONFIG_NAME = "mu2net.toml"
MAX_CONFIG = 2**20
"""The largest ``mu2net.toml``, in bytes."""

FORMAT_VERSION = 1
"""Version of the layout on disk that this version of mu2net reads and writes."""


class SystemConfig(BaseModel):
    """What ``mu2net.toml`` holds; written once, when the system is created.

    Args:
        root: The root as the user named it, for instance ``"efficientnet-lite0"``.
        root_source: Where its parameters came from, in words.
        backbone: JSON values from which the backbone is made again.
        seed: Seed of everything random in the system.
        created_by: Version of mu2net that created it.
        format_version: Version of the layout on disk.
        registry_url: SQLAlchemy URL of a registry shared by a team; ``None`` for ``registry.sqlite`` in
            the system's folder. It is stored as it is, so leave a password to the data base's own password file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    root: str
    root_source: str = ""
    backbone: dict[str, Any]
    seed: int = Field(default=0, ge=0, lt=2**63)
    created_by: str = Field(default_factory=mu2net_version)
    format_version: int = Field(default=FORMAT_VERSION, ge=1)
    registry_url: str | None = None

    def to_toml(self) -> str:
        """Return the file's text."""
        values = self.model_dump(exclude_none=True)
        values["backbone"] = json.dumps(values["backbone"])
        lines = [f"{key} = {_toml(values[key])}" for key in _ORDER if key in values]
        return "\n".join(["# A mu2net system. Evolution reads this file and never changes it.", *lines, ""])


_ORDER = ("format_version", "created_by", "root", "root_source", "seed", "registry_url", "backbone")


def config_from_toml(data: bytes, where: str) -> SystemConfig:
    """Return what a ``mu2net.toml`` says.

    Args:
        data: The file's bytes.
        where: What messages call the file.

    Raises:
        FormatError: A newer version of mu2net wrote it; names that version.
        StoreError: It is malformed; names the line or the key.
    """
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # also text that is no UTF-8, and integers of thousands of digits
        raise StoreError(f"{where} is not valid TOML: {error}; correct it, or restore it from a backup") from error
    version = values.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FormatError(
            f"{where} has format_version {version}, written by mu2net {values.get('created_by', '(unknown)')}; "
            f"this is mu2net {mu2net_version()}, which reads up to {FORMAT_VERSION}: "
            "install the version that wrote it, or a newer one"
        )
    if "format_version" not in values:
        raise StoreError(
            f"{where}: key 'format_version' is missing; expected an integer; restore the file from a backup"
        )
    try:
        return SystemConfig(**_with_backbone(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "backbone"
        raise StoreError(
            f"{where}: key {key!r}: {first['msg']} (found: {first['input']!r}); "
            "correct it, or restore the file from a backup"
        ) from error


def _with_backbone(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the JSON text of ``backbone`` read; text that is not JSON stays, and fails to validate."""
    text = values.get("backbone")
    if isinstance(text, str):
        try:
            return {**values, "backbone": json.loads(text)}
        except (ValueError, RecursionError):
            return values
    return values


def _toml(value: str | int) -> str:
    """Return a string or an integer as TOML; a string without quotes and control characters stays as it is."""
    if isinstance(value, int):
        return str(value)
    if "'" not in value and value.isprintable():
        return f"'{value}'" if '"' in value or "\\" in value else f'"{value}"'
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
