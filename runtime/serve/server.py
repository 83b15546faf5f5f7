"""Uvicorn around the app: signals, slow connections, logs."""

import asyncio
import logging
import math
import signal
import socket
import struct
import sys
import time
from itertools import count
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from lorair.runtime.errors import OptionError
from lorair.runtime.serve.observe import JsonLines, logger
from lorair.runtime.serve.service import Service

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_MAX_CONNECTIONS: Final = 500
"""Half of the files that a process may usually have open."""

_HEAD_SECONDS: Final = 10.0
"""For a request's head, from the connection's beginning or the last answer's end."""

_WRITE_SECONDS: Final = 30.0
"""For a client to take what was written; answers are written in blocks."""

_NUMBERS: Final = count()
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises OptionError: the address cannot be had.
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
    """Serve the service's app on a socket of `listen`, until SIGTERM or SIGINT.

    What was taken is answered then, within `grace` seconds.

    Returns:
        whether everything that was taken was answered.
    """
    log_as_json()
    if not sys.stderr.isatty():  # whose log it is sees nothing else of it until the first request
        backend = service.restorer.backend.description
        entry = {"address": list(sock.getsockname()[:2]), "backend": backend}
        logger.info("serving", extra={"entry": entry})
    server = Server(app, service, grace)
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


class Server(uvicorn.Server):
    """Refuses new pictures from the moment it is told to end; arguments as for `run`."""

    def __init__(self, app: FastAPI, service: Service, grace: float) -> None:
        config = uvicorn.Config(
            app,
            http=_PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(grace),
        )
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


class _PatientProtocol(H11Protocol):
    """Uvicorn's, with bounds on what clients may keep it waiting for, and how many may."""

    _waiting = 0
    """Its number among those that wait: the smallest has waited longest."""
    _head: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for a request; of too many connections close the one that has waited longest."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` is told of whatever is left
        self._await_head()
        if len(self.connections) > _MAX_CONNECTIONS:
            others: Any = self.connections
            idle = [other for other in others if other.waits_for_client()]
            min(idle, key=lambda other: other._waiting).hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for."""
        super().connection_lost(exc)
        for timer in filter(None, (self._head, self._writing)):
            timer.cancel()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._await_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give the client time to take what was written."""
        super().pause_writing()
        self._writing = self.loop.call_later(_WRITE_SECONDS, self.hang_up)

    def resume_writing(self) -> None:
        """Go on: it has taken all."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()

    def waits_for_client(self) -> bool:
        """Whether it is the client's turn: a head, a body or the taking of an answer is due."""
        cycle: Any = self.cycle  # Uvicorn's annotation has no None
        return cycle is None or cycle.response_complete or cycle.more_body or self.flow.write_paused

    def hang_up(self) -> None:
        """Close the connection with all that was not taken, in the system's buffers too."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()

    def _await_head(self) -> None:
        self._waiting = next(_NUMBERS)
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(_HEAD_SECONDS, self._close_if_silent, self.cycle)

    def _close_if_silent(self, last: Any) -> None:
        if self.cycle is last:
            self.transport.close()
