"""The images of a request: multipart files, a raw image, or JSON with base64."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mu2net.serve.problems import ProblemError, later

RAW = ("application/octet-stream",)
"""Media types of a raw image beside ``image/*``."""


MAX_NAMES = 1000
"""Most tasks that a request may name."""

_SPARE_SIGNS = 1000
"""Brackets and commas of a JSON body beside those that it needs: for what is only a little wrong, and told better."""

_PIECE = 2**18
"""Bytes of a form that are parsed before other requests have their turn."""

_RED_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4YWQEAALyAS2Sl/RHAAAAAElFTkSuQmCC"
"""A PNG of one pixel, for an example that can be sent."""

_Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]


class ImageDocument(BaseModel):
    """A JSON body."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"images": [_RED_PIXEL], "top_k": 3}]})
    images: list[_Base64] = Field(
        min_length=1, description="Image files in base64, with or without a data: URL in front."
    )
    top_k: int | None = Field(default=None, ge=1, description="How many classes to list; the query's value by default.")
    tasks: list[str] | None = Field(
        default=None, max_length=MAX_NAMES, description="Tasks; those of the query by default."
    )


@dataclass(frozen=True)
class Upload:
    """What a client sent.

    Args:
        images: Name and bytes of every image file.
        top_k: How many classes to list; ``None`` where it does not say.
        tasks: Tasks; ``None`` where it does not say.
    """

    images: list[tuple[str, bytes]]
    top_k: int | None = None
    tasks: list[str] | None = None


class Budget:
    """How many bytes of bodies all requests together may hold.

    Args:
        most: That many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, count: int) -> None:
        """Hold some more bytes.

        Raises:
            ProblemError: They are too many.
        """
        if self._held + count > self._most:
            raise later("busy", f"all requests together hold {self._held:,} bytes already; try again later", 1.0)
        self._held += count

    def give(self, count: int) -> None:
        """Hold some bytes no longer."""
        self._held -= count


async def read_upload(request: Request, max_body: int, max_images: int) -> Upload:
    """Read the images of a request.

    Args:
        request: The request.
        max_body: Longest body, in bytes.
        max_images: Most images.

    Raises:
        ProblemError: The body is too long, has another media type, or does not hold such images.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_raw = kind.startswith("image/") or kind in RAW
    if not (is_raw or kind in ("application/json", "multipart/form-data")):
        raise ProblemError(
            415,
            "media-type",
            f"content-type is {kind or 'missing'}; expected multipart/form-data with files called 'images', image/*, "
            "application/octet-stream, or application/json",
            "content-type",
        )
    body = await read_body(request, max_body)
    if not body:
        raise ProblemError(400, "no-image", "the body is empty; expected at least one image", "images")
    if is_raw:
        upload = Upload([("image[0]", body)])
    elif kind == "application/json":
        upload = await asyncio.to_thread(_document, body, max_images)
    else:
        upload = await _form(request.headers, body, max_images)
    if not upload.images:
        raise ProblemError(400, "no-image", "there is no image; expected at least one file called 'images'", "images")
    if len(upload.images) > max_images:
        raise _too_many(str(len(upload.images)), max_images)
    return upload


def _too_many(found: str, most: int) -> ProblemError:
    detail = f"{found} images; expected at most {most}; send them in several requests"
    return ProblemError(413, "too-many-images", detail, "images")


async def read_body(request: Request, max_body: int) -> bytes:
    """Read a body, and stop where it becomes too long.

    Args:
        request: The request.
        max_body: Longest body, in bytes.

    Raises:
        ProblemError: It is longer, or says that it is.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_body:
        raise _too_long(max_body)
    parts, length = [], 0
    budget: Budget | None = getattr(request.state, "budget", None)
    async for part in request.stream():
        length += len(part)
        if length > max_body:
            raise _too_long(max_body)
        if budget is not None:
            budget.take(len(part))
            request.state.held += len(part)
        parts.append(part)
    return b"".join(parts)


def _too_long(max_body: int) -> ProblemError:
    detail = f"the body is longer than {max_body:,} bytes; send fewer or smaller images"
    return ProblemError(413, "body-too-long", detail, "body", {"Connection": "close"})


def _check_size(body: bytes, max_images: int) -> None:
    """Refuse a JSON body of more values than a request can have, before they take thirty times its room.

    Base64 has no brackets and commas, and an image one comma, in its data URL.

    Raises:
        ProblemError: It has more.
    """
    most, found = 2 * max_images + MAX_NAMES + _SPARE_SIGNS, sum(body.count(sign) for sign in (b",", b"[", b"{"))
    if found > most:
        detail = (
            f"the body holds too many values ({found:,} brackets and commas; expected at most {most:,}); send at most "
            f"{max_images} images in a request"
        )
        raise ProblemError(413, "too-many-values", detail, "body")


def _document(body: bytes, max_images: int) -> Upload:
    _check_size(body, max_images)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "no-json", f"the body is no JSON: {error}", "body") from None
    if isinstance(found, dict):  # before every entry of something huge is looked at
        for field in found:
            if field not in ImageDocument.model_fields:
                raise _unknown(field, is_file=False)
        if isinstance(found.get("images"), list) and len(found["images"]) > max_images:
            raise _too_many(str(len(found["images"])), max_images)
    try:
        document = ImageDocument.model_validate(found)
    except ValidationError as error:
        first: dict[str, Any] = dict(error.errors(include_url=False, include_input=False)[0])
        field = ".".join(map(str, first["loc"]))[:200] or "body"
        raise ProblemError(422, "invalid-parameter", f"{field}: {first['msg']}", field) from None
    images = [(f"image[{index}]", _decoded(text, index)) for index, text in enumerate(document.images)]
    return Upload(images, document.top_k, document.tasks)


def _decoded(text: str, index: int) -> bytes:
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProblemError(400, "no-base64", f"image {index} is no base64: {error}", f"images.{index}") from None


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
        await asyncio.sleep(0)  # a form of nothing but boundaries takes long


async def _form(headers: Headers, body: bytes, max_images: int) -> Upload:
    images: list[tuple[str, bytes]] = []
    fields: dict[str, list[str]] = {"tasks": [], "top_k": []}
    parser = MultiPartParser(headers, _pieces(body), max_files=max_images, max_fields=MAX_NAMES)
    try:
        form = await parser.parse()
        try:
            for field, value in form.multi_items():
                if isinstance(value, UploadFile) and field == "images":
                    name = (value.filename or f"image[{len(images)}]").encode("utf-8", "replace").decode()
                    images.append((name, await value.read()))
                elif isinstance(value, str) and field in fields:
                    fields[field].append(value)
                else:
                    raise _unknown(field, is_file=isinstance(value, UploadFile))
        finally:
            await form.close()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many("more", max_images) from None
        raise ProblemError(400, "no-form", f"the body is no form: {error.message}", "body") from None
    except (UnicodeError, LookupError) as error:
        raise ProblemError(400, "no-form", f"the body is no form in its charset: {error}", "content-type") from None
    tasks = [name for text in fields["tasks"] for name in text.split(",")]
    return Upload(images, _top_k(fields["top_k"]), tasks or None)


def _unknown(field: str, *, is_file: bool) -> ProblemError:
    field = field.encode("utf-8", "replace").decode()[:100]
    expected = "call all files 'images'" if is_file else "expected images (files), tasks, top_k"
    return ProblemError(400, "unknown-field", f"unknown {'file' if is_file else 'field'} {field!r}; {expected}", field)


def _top_k(texts: list[str]) -> int | None:
    if not texts:
        return None
    if len(texts) > 1 or not (texts[0].isascii() and texts[0].isdecimal()) or int(texts[0][:9]) < 1:
        raise ProblemError(
            422, "invalid-parameter", f"top_k is {', '.join(texts)!r}; expected a number from 1 on", "top_k"
        )
    return int(texts[0][:9])
