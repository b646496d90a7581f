"""Errors as clients get them: problem details (RFC 9457), which name the field that is to blame."""

from __future__ import annotations

import http
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger("mu2net.serve")


class Problem(BaseModel):
    """What went wrong with a request (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:mu2net:problem:unknown-task",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "unknown task 'bird'; did you mean 'birds'?",
                    "field": "task",
                }
            ]
        }
    )
    type: str = Field(description="Which kind of problem it is, for programs.")
    title: str
    status: int
    detail: str = Field(description="What was expected, what was found, and the way out.")
    field: str | None = Field(default=None, description="The part of the request that is to blame.")


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        status: HTTP status.
        kind: Which kind of problem it is, the end of its type.
        detail: What was expected, what was found, and the way out.
        field: The part of the request that is to blame.
        headers: Headers of the response.
    """

    def __init__(
        self, status: int, kind: str, detail: str, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.field, self.headers = status, kind, detail, field, headers


def later(kind: str, detail: str, seconds: float) -> ProblemError:
    """Return the problem of a client that should come again, in whole seconds.

    Args:
        kind: Which kind of problem it is.
        detail: What happened.
        seconds: After how many seconds it is worth to try again.
    """
    return ProblemError(429, kind, detail, headers={"Retry-After": str(max(1, math.ceil(seconds)))})


def respond(error: ProblemError) -> Response:
    """Return the response of a problem."""
    problem = Problem(
        type=f"urn:mu2net:problem:{error.kind}",
        title=http.HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        field=error.field,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True), error.status, headers=dict(error.headers or {}), media_type=MEDIA_TYPE
    )


async def on_problem(_: Request, error: Exception) -> Response:
    """Answer a ``ProblemError``."""
    assert isinstance(error, ProblemError)
    return respond(error)


async def on_http_error(_: Request, error: Exception) -> Response:
    """Answer what the framework refuses: a route that does not exist, a method that it does not have."""
    assert isinstance(error, HTTPException)
    kind = http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return respond(ProblemError(error.status_code, kind, str(error.detail), headers=error.headers))


async def on_invalid(_: Request, error: Exception) -> Response:
    """Answer a request whose parameters are not what they should be."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = dict(error.errors()[0])
    place: Sequence[Any] = [part for part in first["loc"] if part not in ("query", "path", "body", "header")]
    field = ".".join(map(str, place)) or "body"
    return respond(ProblemError(422, "invalid-parameter", f"{field}: {first['msg']}", field))


async def on_bug(request: Request, error: Exception) -> Response:
    """Answer what nobody expected, without telling the client what it was."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return respond(ProblemError(500, "internal", "the server failed; its log says why"))
