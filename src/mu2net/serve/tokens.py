"""Bearer tokens, and which tasks each of them may use."""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mu2net.errors import ConfigError

ALL = "*"
"""In a token's tasks: every task that is not private."""


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Args:
        name: Name of the token; ``None`` for anybody.
        tasks: Names of tasks that it may use; ``*`` stands for all that are not private.
    """

    name: str | None
    tasks: frozenset[str]

    def may_use(self, task: str, *, is_private: bool) -> bool:
        """Return whether it may use a task; a private one has to be named."""
        return task in self.tasks or (ALL in self.tasks and not is_private)

    @property
    def may_use_all(self) -> bool:
        """Whether it may use every task that is not private."""
        return ALL in self.tasks


ANYBODY = Principal(None, frozenset([ALL]))
"""Who asks a server without tokens."""


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=100)
    sha256: str
    tasks: list[str] = Field(min_length=1)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: list[_Token] = Field(min_length=1)


class Tokens:
    """The tokens of a server; only their hashes are known to it.

    Args:
        principals: Who has the token of a SHA-256, in lower-case hexadecimal digits.
    """

    def __init__(self, principals: dict[str, Principal]) -> None:
        self._principals = principals

    @classmethod
    def read(cls, file: Path) -> Tokens:
        """Read tokens from a TOML file.

        ```toml
        [[token]]
        name = "lab"
        sha256 = "…"               # of the token: printf %s TOKEN | sha256sum
        tasks = ["*", "patients"]  # all that are not private, and a private one
        ```

        Args:
            file: The file.

        Raises:
            ConfigError: It cannot be read, or is no such file; names what is wrong.
        """
        form = "expected [[token]] tables with name, sha256 (of the token) and tasks"
        try:
            found = _File.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"tokens '{file}' cannot be read: {error.strerror}") from error
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(f"tokens '{file}': {place}: {problem['msg']}; {form}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"tokens '{file}' is no TOML: {error}; {form}") from error
        principals: dict[str, Principal] = {}
        for token in found.token:
            if not re.fullmatch("[0-9a-f]{64}", token.sha256):
                raise ConfigError(
                    f"tokens '{file}': token {token.name!r} has the sha256 {token.sha256!r}; expected 64 lower-case "
                    "hexadecimal digits, those of: printf %s TOKEN | sha256sum"
                )
            if token.sha256 in principals or token.name in {known.name for known in principals.values()}:
                raise ConfigError(f"tokens '{file}': token {token.name!r} is there twice; give names and tokens once")
            principals[token.sha256] = Principal(token.name, frozenset(token.tasks))
        return cls(principals)

    def find(self, token: bytes) -> Principal | None:
        """Return whose a token is; ``None`` for nobody's. It takes as long for every token.

        Args:
            token: What the client sent.
        """
        digest = hashlib.sha256(token).hexdigest()
        found = None
        for known, principal in self._principals.items():
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    def unknown_tasks(self, tasks: Iterable[str]) -> list[str]:
        """Return the tasks that tokens name but a system does not have, sorted."""
        named = {task for principal in self._principals.values() for task in principal.tasks}
        return sorted(named - {ALL} - set(tasks))
