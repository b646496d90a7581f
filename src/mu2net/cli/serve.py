"""The command ``serve``."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mu2net.cli.options import JsonOption, SystemOption, parse_duration, parse_size
from mu2net.cli.output import console, error_console, plural, print_json, say
from mu2net.cli.session import open_system
from mu2net.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from mu2net.core.path import Path as NetworkPath
    from mu2net.system import System
    from mu2net.system.arithmetic import Change
    from mu2net.system.classifier import Judge, ServingPrecision

PRECISIONS: dict[str, ServingPrecision | None] = {
    "float32": "float32",
    "bf16": "bfloat16",
    "int8": "int8",
    "recorded": None,
}
"""What a user may ask for."""

_MEASURED = ("bf16", "int8")
"""What is measured for every task before it is served so."""


def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; this machine alone by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    auth: Annotated[
        Path | None, typer.Option("--auth", metavar="FILE", help="TOML file of bearer tokens and their tasks.")
    ] = None,
    max_batch: Annotated[int, typer.Option(metavar="N", min=1, help="Most images that run together.")] = 32,
    max_wait_ms: Annotated[float, typer.Option(metavar="MS", min=0, help="How long an image waits for others.")] = 2.0,
    queue: Annotated[int, typer.Option(metavar="N", min=1, help="Most images that wait; then 429.")] = 512,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Longest time of a request.")] = "30s",
    drain: Annotated[str, typer.Option(metavar="TIME", help="Time for open requests after SIGTERM.")] = "30s",
    memory_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most memory for components, such as 500MB.", show_default=False)
    ] = None,
    max_body: Annotated[str, typer.Option(metavar="SIZE", help="Longest request body.")] = "32MB",
    max_bodies: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory for the bodies of all requests together.")
    ] = "512MB",
    max_connections: Annotated[int, typer.Option(metavar="N", min=1, help="Most connections; then 503.")] = 1000,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS", help="A proxy that says who the client is (X-Forwarded-For).", show_default=False
        ),
    ] = None,
    max_pixels: Annotated[int, typer.Option(metavar="N", min=1, help="Largest image, in pixels.")] = 40_000_000,
    max_images: Annotated[int, typer.Option(metavar="N", min=1, help="Most images of a request.")] = 64,
    rate: Annotated[
        float, typer.Option(metavar="N", min=0, help="Requests per second of one client; 0 for no limit.")
    ] = 0.0,
    burst: Annotated[int, typer.Option(metavar="N", min=1, help="Requests that a client may send at once.")] = 20,
    watch: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How often to look for new tasks; 0 for never.")
    ] = 1.0,
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="float32, bf16, int8 (measured first), or recorded: as every path was trained."
        ),
    ] = "float32",
    force: Annotated[
        bool, typer.Option("--force", help="Serve in --precision also what loses more than 0.5 points of accuracy.")
    ] = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer predictions of all tasks over HTTP, from one process."""
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    try:
        from mu2net.nn.allocator import keep_freed_memory
        from mu2net.serve.app import create_app
        from mu2net.serve.run import bind, is_loopback, run
        from mu2net.serve.settings import Settings
        from mu2net.serve.tokens import Tokens
    except ModuleNotFoundError as error:
        raise ConfigError(f"`serve` needs {error.name}; install it: pip install 'mu2net[serve]'") from error
    keep_freed_memory()
    settings = Settings(
        max_batch=max_batch,
        max_wait=max_wait_ms / 1000,
        queue=queue,
        timeout=parse_duration(timeout),
        drain=parse_duration(drain),
        max_body=parse_size("--max-body", max_body),
        max_bodies=parse_size("--max-bodies", max_bodies),
        max_pixels=max_pixels,
        max_images=max_images,
        rate=rate,
        burst=burst,
        watch=watch,
    )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("mu2net").setLevel(logging.INFO)
    limit = None if memory_limit is None else parse_size("--memory-limit", memory_limit)
    with open_system(context, system) as opened:
        tokens = None if auth is None else Tokens.read(auth)
        judge = _measuring(opened, precision, force=force) if precision in _MEASURED else None
        classifier = opened.classifier(precision=PRECISIONS[precision], memory_limit=limit, judge=judge)
        app = create_app(classifier, settings, tokens)
        unknown = () if tokens is None else tokens.unknown_tasks(task.name for task in opened.tasks())
        for name in unknown:
            say(error_console(), f"warning: tokens name the task {name!r}, which does not exist (yet)", "yellow")
        if tokens is None and not is_loopback(host):
            say(error_console(), f"warning: anybody who reaches {host} may ask; name tokens with --auth", "yellow")
        listening = bind(host, port)
        url = _url(listening)
        tasks = [task.name for task in opened.tasks() if task.path_id is not None]

        def tell() -> None:
            if as_json:
                print_json({"url": url, "tasks": tasks, "precision": precision})
            else:
                say(console(), f"serving {plural(len(tasks), 'task')} of {opened.directory} at {url} (try {url}/docs)")

        run(app, listening, tell, drain=settings.drain, connections=max_connections, proxies=proxy or [])


def _url(listening: socket.socket) -> str:
    """Return the address that a socket answers at."""
    address, port = listening.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def _measuring(system: System, precision: str, *, force: bool) -> Judge:
    """Return what measures a path in an arithmetic, says what changes, and decides whether it is served so."""

    def judge(path: NetworkPath) -> bool:
        wanted = PRECISIONS[precision]
        assert wanted is not None
        change = system.precision_change(path, wanted)
        may = force or change.is_small
        style = "" if change.is_small else "yellow"
        say(
            error_console(),
            f"{path.task}: {_told(change, precision)}{'' if may else '; it is served as trained'}",
            style,
        )
        return may

    return judge


def _told(change: Change, precision: str) -> str:
    if change.problem:
        return f"{precision} was not measured: {change.problem}"
    points = 100 * (change.after - change.before)
    return (
        f"validation accuracy {100 * change.before:.2f} % as trained, {100 * change.after:.2f} % in {precision} "
        f"({points:+.2f} points; {change.changed} of {change.images} labels changed)"
    )
