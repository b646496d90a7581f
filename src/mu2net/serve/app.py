"""The HTTP interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import mu2net
from mu2net.errors import ConfigError
from mu2net.report.page import policy
from mu2net.serve import documents, problems
from mu2net.serve.metrics import Metrics
from mu2net.serve.problems import Problem, ProblemError, later
from mu2net.serve.rate import RateLimit
from mu2net.serve.service import Service
from mu2net.serve.settings import Settings
from mu2net.serve.tokens import ANYBODY, Principal, Tokens
from mu2net.serve.uploads import ImageDocument, Upload, read_upload
from mu2net.system.classifier import Classifier

DEFAULT_TOP = 5

Guard = Callable[[Request], Principal]

T = TypeVar("T")

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CLIENT_CLOSED_REQUEST = 499
"""What is counted where nobody waits for the answer; nginx's number."""

_DESCRIPTION = """\
Classifies images for every task of a mu2net system. What the paths of tasks share is computed once, also for different
requests.

Images come as `multipart/form-data` (files called `images`), as the body itself, or as JSON with base64.
Errors are problem details (RFC 9457).
"""

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
                        "top_k": {"type": "integer", "minimum": 1},
                        "tasks": {"type": "string"},
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": ImageDocument.model_json_schema()},
        },
    }
}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": "A problem (RFC 9457)", "content": content} for status in statuses}


_PREDICTING = _refusals(400, 401, 404, 413, 415, 422, 429, 500, 503, 504)
_READING = _refusals(401, 404, 422, 429, 500)


async def _principal(request: Request) -> Principal:
    """Find out who asks, and whether they ask too often."""
    guard: Guard = request.app.state.guard
    return guard(request)


Who = Annotated[Principal, Depends(_principal)]
TaskName = Annotated[str, Path(description="Name of a task.", examples=["birds"])]
TopK = Annotated[
    int | None, Query(ge=1, description=f"How many classes to list; {DEFAULT_TOP} by default.", examples=[3])
]


def create_app(classifier: Classifier, settings: Settings | None = None, tokens: Tokens | None = None) -> FastAPI:
    """Return the application that serves a system.

    Args:
        classifier: What answers.
        settings: Limits and times.
        tokens: Who may use what; by default anybody may use what is not private.
    """
    settings = settings or Settings()
    metrics = Metrics()
    service = Service(classifier, settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.open()
        watching = asyncio.create_task(service.watch()) if settings.watch else None
        try:
            yield
        finally:
            if watching is not None:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="mu2net", version=mu2net.__version__, description=_DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    limit = RateLimit(settings.rate, settings.burst)
    app.state.service, app.state.guard = service, _guard(service, tokens, limit)
    app.add_exception_handler(ProblemError, problems.on_problem)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(Exception, problems.on_bug)
    app.add_exception_handler(_GoneError, _on_gone)
    app.add_middleware(_Counting, metrics=metrics)
    _add_predictions(app, service)
    _add_tasks(app, service)
    _add_health(app, service)
    _add_page(app, service)
    _describe(app, has_tokens=tokens is not None)
    return app


def _guard(service: Service, tokens: Tokens | None, limit: RateLimit) -> Guard:
    """Return what finds out who asks, and whether they ask too often."""

    def allow(client: str) -> None:
        seconds = limit.wait(client)
        if seconds:
            raise later("rate", f"more requests than are allowed; try again in {seconds:.1f} s", seconds)

    def guard(request: Request) -> Principal:
        host = f"host {request.client.host if request.client else 'unknown'}"
        if service.is_stopping:
            detail = "the server is stopping; send the request to another one, or try again later"
            raise ProblemError(503, "stopping", detail, headers={"Retry-After": "5", "Connection": "close"})
        if tokens is None:
            allow(host)
            return ANYBODY
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = token.strip().encode("latin-1")  # the bytes of the header, which the framework decoded so
        found = tokens.find(sent) if scheme.lower() == "bearer" else None
        if found is None:
            allow(host)  # guesses are counted too
            detail = "no known token; send the header: Authorization: Bearer TOKEN"
            raise ProblemError(401, "unauthorized", detail, "authorization", {"WWW-Authenticate": "Bearer"})
        allow(f"token {found.name}")
        return found

    return guard


class _Counting:
    """Counts requests by route, status and time.

    Args:
        app: The application behind it.
        metrics: Where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
            if status >= 500:
                self._metrics.errors.labels(route).inc()


class _GoneError(Exception):
    """Nobody waits for the answer any more."""


async def _on_gone(_: Request, error: Exception) -> Response:  # noqa: ARG001 - who handles errors gets them
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _in_time(service: Service, request: Request, work: Callable[[Upload], Coroutine[Any, Any, T]]) -> T:
    """Read a request and do its work, within its time, and only as long as its client waits for it.

    Raises:
        ProblemError: It takes too long.
    """
    settings = service.settings
    request.state.budget, request.state.held = service.budget, 0
    started: list[asyncio.Task[Any]] = []
    try:
        async with asyncio.timeout(settings.timeout):
            upload = await read_upload(request, settings.max_body, settings.max_images)
            task, leaving = asyncio.create_task(work(upload)), asyncio.create_task(_leaves(request))
            started += [task, leaving]
            await asyncio.wait(started, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _GoneError
            return task.result()
    except ClientDisconnect:
        raise _GoneError from None
    except TimeoutError as error:
        detail = f"no answer within {settings.timeout:g} s; send fewer images, or try again later"
        raise ProblemError(504, "timeout", detail) from error
    finally:
        service.budget.give(request.state.held)
        for left in started:
            left.cancel()


async def _leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_predictions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/tasks/{task}/predict",
        response_model=documents.TaskPredictionsDocument,
        responses=_PREDICTING,
        openapi_extra=_BODY,
        tags=["predict"],
    )
    async def predict_task(
        task: TaskName, request: Request, principal: Who, top_k: TopK = None
    ) -> documents.TaskPredictionsDocument:
        """Classify images with the path of one task."""
        service.find(task, principal)

        async def work(upload: Upload) -> documents.TaskPredictionsDocument:
            if upload.tasks is not None and upload.tasks != [task]:
                raise ProblemError(422, "invalid-parameter", f"the address says {task!r}; name no other task", "tasks")
            answer = await service.answer([task], principal, upload.images)
            return documents.task_predictions(answer, upload.top_k or top_k or DEFAULT_TOP)

        return await _in_time(service, request, work)

    @app.post(
        "/v1/predict",
        response_model=documents.ManyPredictionsDocument,
        responses=_PREDICTING,
        openapi_extra=_BODY,
        tags=["predict"],
    )
    async def predict_many(
        request: Request,
        principal: Who,
        tasks: Annotated[
            list[str] | None,
            Query(description="Names of tasks, also with commas; * for all that are not private.", examples=[["*"]]),
        ] = None,
        top_k: TopK = None,
    ) -> documents.ManyPredictionsDocument:
        """Classify images with the paths of several tasks; what they share is computed once."""

        async def work(upload: Upload) -> documents.ManyPredictionsDocument:
            names = upload.tasks if upload.tasks is not None else ",".join(tasks or ()).split(",")
            answer = await service.answer(names, principal, upload.images)
            return documents.many_predictions(answer, upload.top_k or top_k or DEFAULT_TOP)

        return await _in_time(service, request, work)


def _add_tasks(app: FastAPI, service: Service) -> None:
    @app.get("/v1/tasks", response_model=documents.TasksDocument, responses=_READING, tags=["tasks"])
    async def list_tasks(principal: Who) -> documents.TasksDocument:
        """List the tasks that you may use."""
        tasks = [documents.task_document(task) for task in service.visible(principal)]
        return documents.TasksDocument(version=service.edition.version, tasks=tasks)

    @app.get("/v1/tasks/{task}", response_model=documents.TaskDetailsDocument, responses=_READING, tags=["tasks"])
    async def show_task(task: TaskName, principal: Who) -> documents.TaskDetailsDocument:
        """Tell all about a task: classes, accuracy, path, and whose data shaped it."""
        found = service.find(task, principal)
        return documents.task_details(found, frozenset(known.name for known in service.visible(principal)))


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=documents.StateDocument, tags=["health"])
    async def healthz() -> documents.StateDocument:
        """Tell whether the process is alive."""
        return documents.StateDocument(status="alive")

    @app.get(
        "/readyz",
        response_model=documents.StateDocument,
        responses={503: {"model": documents.StateDocument, "description": "It is stopping"}},
        tags=["health"],
    )
    async def readyz() -> Response:
        """Tell whether requests are welcome."""
        if service.is_ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "stopping"}, 503)

    @app.get("/metrics", response_class=PlainTextResponse, responses=_refusals(401, 429), tags=["health"])
    async def metrics(_: Who) -> Response:
        """Tell what was counted, in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _add_page(app: FastAPI, service: Service) -> None:
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page(request: Request, principal: Who) -> Response:
        """Show the network, its growth, and every search, of all tasks that are not private."""
        if not principal.may_use_all:
            raise ProblemError(403, "forbidden", "the page shows all public tasks, and your token names some only")
        try:
            version, text = await service.page()
        except ConfigError as error:
            raise ProblemError(503, "no-page", str(error)) from error
        headers = {"ETag": f'"{version}"', "Cache-Control": "no-cache", "Content-Security-Policy": policy()}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, headers=headers)


def _describe(app: FastAPI, *, has_tokens: bool) -> None:
    """Describe problems and tokens in the OpenAPI document, and not what the framework would answer by itself."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        schemas = document["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        if has_tokens:
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for address, path in document["paths"].items():
                for operation in path.values() if address not in ("/healthz", "/readyz") else ():
                    operation["security"] = [{"token": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
