"""Runs the server until it is told to stop."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from mu2net.errors import ConfigError

_BACKLOG = 2048
_IDLE_SECONDS = 75
"""How long a connection may be silent: longer than most clients and proxies keep theirs, so that they do not send a
request while the server closes."""

_LAST_SECONDS = 5
"""Between the end of the time for open requests and the end of their connections."""


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: Address or name.
        port: Port; 0 for any that is free.

    Raises:
        ConfigError: The address cannot be used, for instance because another program uses the port.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error}; choose another --host or --port") from error
    # Connections inherit it. Answers are sent in two pieces; the second would wait for the client's word on the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(
    app: FastAPI,
    listening: socket.socket,
    started: Callable[[], None],
    *,
    drain: float,
    connections: int = 1000,
    proxies: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; requests that were accepted are answered before it returns.

    Args:
        app: The application.
        listening: The socket.
        started: Called when requests are answered.
        drain: How long requests may go on after the signal, in seconds.
        connections: Most connections at a time; others get a 503.
        proxies: Addresses of proxies whose word on who the client is counts.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=round(drain) + _LAST_SECONDS,
        limit_concurrency=connections,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
    )
    server = _Server(config, started, app.state.service.stop)
    # At its end uvicorn raises the signal that ended it once more, for those who had a handler of their own before.
    before = {kind: signal.signal(kind, lambda *_: None) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listening])
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class _Server(uvicorn.Server):
    """Tells when requests are answered."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None], stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell, self._stop = started, stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take no new requests from the signal on."""
        if not self.should_exit:
            self._stop()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()
