"""The HTTP interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

import mu2net
from mu2net.serve import documents, problems
from mu2net.serve.metrics import Metrics
from mu2net.serve.problems import Problem, ProblemError, later
from mu2net.serve.rate import RateLimit
from mu2net.serve.service import Service
from mu2net.serve.settings import Settings
from mu2net.serve.tokens import ANYBODY, Principal, Tokens
from mu2net.serve.uploads import ImageDocument, read_upload
from mu2net.system.classifier import Classifier

DEFAULT_TOP = 5

Guard = Callable[[Request], Principal]

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
TaskName = Annotated[str, Path(description="Name of a task.")]
TopK = Annotated[int | None, Query(ge=1, description=f"How many classes to list; {DEFAULT_TOP} by default.")]


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
        yield
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="mu2net", version=mu2net.__version__, description=_DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    app.state.service, app.state.guard = service, _guard(tokens, RateLimit(settings.rate, settings.burst))
    app.add_exception_handler(ProblemError, problems.on_problem)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(Exception, problems.on_bug)
    app.middleware("http")(_counting(metrics))
    _add_predictions(app, service)
    _add_tasks(app, service)
    _add_health(app, service)
    _name_problems(app)
    return app


def _guard(tokens: Tokens | None, limit: RateLimit) -> Guard:
    """Return what finds out who asks, and whether they ask too often."""

    def identify(request: Request) -> Principal:
        if tokens is None:
            return ANYBODY
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        found = tokens.find(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            detail = "no known token; send the header: Authorization: Bearer TOKEN"
            raise ProblemError(401, "unauthorized", detail, "authorization", {"WWW-Authenticate": "Bearer"})
        return found

    def guard(request: Request) -> Principal:
        principal = identify(request)
        host = request.client.host if request.client else "unknown"
        seconds = limit.wait(f"token {principal.name}" if principal.name else f"host {host}")
        if seconds:
            raise later("rate", f"more requests than are allowed; try again in {seconds:.1f} s", seconds)
        return principal

    return guard


def _counting(metrics: Metrics) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def count(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        started, status = time.perf_counter(), 500
        try:
            response = await proceed(request)
            status = response.status_code
        finally:
            route = getattr(request.scope.get("route"), "path", "unknown")
            metrics.requests.labels(request.method, route, str(status)).inc()
            metrics.seconds.labels(route).observe(time.perf_counter() - started)
            if status >= 500:
                metrics.errors.labels(route).inc()
        return response

    return count


def _add_predictions(app: FastAPI, service: Service) -> None:
    settings = service.settings

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
        upload = await read_upload(request, settings.max_body, settings.max_images)
        if upload.tasks is not None and upload.tasks != [task]:
            raise ProblemError(
                422, "invalid-parameter", f"tasks are {upload.tasks}, the address says {task!r}", "tasks"
            )
        answer = await service.answer([task], principal, upload.images)
        return documents.task_predictions(answer, upload.top_k or top_k or DEFAULT_TOP)

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
            str | None, Query(description="Names of tasks, with commas; * for all that are not private.")
        ] = None,
        top_k: TopK = None,
    ) -> documents.ManyPredictionsDocument:
        """Classify images with the paths of several tasks; what they share is computed once."""
        upload = await read_upload(request, settings.max_body, settings.max_images)
        names = upload.tasks if upload.tasks is not None else (tasks or "").split(",")
        answer = await service.answer(names, principal, upload.images)
        return documents.many_predictions(answer, upload.top_k or top_k or DEFAULT_TOP)


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
        visible = {known.name for known in service.visible(principal)}
        private = {known.name for known in service.edition.tasks.values() if known.is_private}
        return documents.task_details(found, frozenset(private - visible))


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


def _name_problems(app: FastAPI) -> None:
    """Describe problems in the OpenAPI document, and not what the framework would answer by itself."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        document = original()
        schemas = document["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
