"""Uvicorn around the app: signals, slow connections, logs."""

import ipaddress
import logging
import math
import signal
import socket
import sys
import time
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from lorair.runtime.errors import OptionError
from lorair.runtime.serve.observe import JsonLines, logger
from lorair.runtime.serve.service import Service

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_MAX_CONNECTIONS: Final = 1000
_HEADERS_SECONDS: Final = 10.0
"""That a new connection has for its first request's head."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        OptionError: the address cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise OptionError(
            "--host and --port",
            wanted="an address of this machine that is free",
            found=f"{host} port {port}: {error.strerror or error}",
            hint="choose another port, or 0 for any",
        ) from error


def run(app: FastAPI, service: Service, sock: socket.socket, grace: float) -> bool:
    """Serve until SIGTERM or SIGINT, then answer what was taken.

    Args:
        app: of the service.
        service: that it uses.
        sock: from `listen`.
        grace: seconds to end in.

    Returns:
        whether everything that was taken was answered.
    """
    log_as_json()
    config = uvicorn.Config(
        app,
        http=_TimedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=round(grace),
    )
    server = _Server(config, service)
    # Uvicorn's own from now on, before it sets them: none is lost in between. It raises the
    # signal once more when it is done; the exit code is to be ours.
    before = {number: signal.signal(number, server.handle_exit) for number in _SIGNALS}
    try:
        server.run(sockets=[sock])
        return service.close(max(0.0, server.told + grace - time.monotonic()))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_as_json() -> None:
    """One line of JSON on stderr for each record of ours and Uvicorn's."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (logger.name, "uvicorn"):
        found = logging.getLogger(name)
        found.handlers, found.propagate = [handler], False
        found.setLevel(logging.INFO if name == logger.name else logging.WARNING)


class _Server(uvicorn.Server):
    """Refuses new pictures from the moment it is told to end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.told = math.inf
        """When it was told to end, on the monotonic clock."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: no new pictures, no new connections, then what is in progress."""
        self.told = time.monotonic()
        self._service.queue.drain()
        logger.info("shutting down")
        await super().shutdown(sockets)


class _TimedProtocol(H11Protocol):
    """Uvicorn has no limit on the time that a first request's head takes."""

    def connection_made(self, transport: Any) -> None:
        """Close it in a while if no request has come."""
        super().connection_made(transport)
        self.loop.call_later(_HEADERS_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        began: Any = self.cycle  # Uvicorn's annotation has no None
        if began is None and not self.transport.is_closing():
            self.transport.close()
