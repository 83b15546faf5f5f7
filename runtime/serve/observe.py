"""Around every request: what is logged and counted for Prometheus, and how a connection is left."""

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lorair.runtime.errors import BusyError, InternalError
from lorair.runtime.serve.entry import refusal
from lorair.runtime.serve.problems import problem
from lorair.runtime.serve.service import Service
from lorair.runtime.serve.settings import Settings

logger = logging.getLogger("lorair.serve")

METRICS_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_QUIET: Final = ("/healthz", "/readyz", "/metrics", "/v1/progress/{id}")
"""Asked again and again; logged only when they fail."""

_HUNG_UP: Final = 499
"""In log and metrics: the client left before its answer."""

_SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)


class Metrics:
    """Count what one app does, in a registry of its own.

    Args:
        service: whose queue is looked at.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "lorair_requests", "Answered requests.", ("path", "code"), registry=self._registry
        )
        self.stages = Histogram(
            "lorair_stage_seconds",
            "Time of each stage of a picture, the queue and the whole included.",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.pixels = Counter("lorair_pixels", "Pixels restored.", registry=self._registry)
        queue = service.queue
        for name, text, value in (
            ("queue_length", "Pictures that wait.", lambda: queue.waiting),
            ("queue_limit", "Pictures that may wait.", lambda: queue.limit),
            ("in_flight", "Pictures in work.", lambda: queue.running),
            ("ready", "1 while new pictures are taken.", lambda: not queue.is_closing),
        ):
            Gauge(f"lorair_{name}", text, registry=self._registry).set_function(value)

    def restored(self, seconds: dict[str, float], pixels: int) -> None:
        """Count a restored picture."""
        for stage, spent in seconds.items():
            self.stages.labels(stage).observe(spent)
        self.pixels.inc(pixels)

    def text(self) -> bytes:
        """Return the counts in Prometheus' text format."""
        return generate_latest(self._registry)


class Observed:
    """The app with who may enter, log, metrics and security headers.

    Args:
        app: to wrap. settings: names, token and limits. metrics: to count in.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._settings)
        start = time.perf_counter()
        try:
            refused = refusal(scope, self._settings)
            app = self._app if refused is None else problem(refused)
            await app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:  # the time to end in is over
            if not exchange.status:
                await problem(_CUT)(scope, exchange.receive, exchange.send)
            raise
        except Exception:
            logger.exception("a bug")
            if exchange.status:
                raise  # half an answer is out
            await problem(_BUG)(scope, exchange.receive, exchange.send)
        finally:
            self._note(scope, exchange, time.perf_counter() - start)

    def _note(self, scope: Scope, exchange: "_Exchange", seconds: float) -> None:
        """Count and log it: by the path's pattern, never by what a client put into it."""
        path = getattr(scope.get("route"), "path", "other")
        status = exchange.status or _HUNG_UP
        self._metrics.requests.labels(path, str(status)).inc()
        if path in _QUIET and status < 400:
            return
        entry = {"method": scope["method"], "path": path, "status": status}
        entry |= {"ms": round(seconds * 1000, 1), "received": exchange.received}
        logger.info("request", extra={"entry": entry | scope.get("state", {}).get("entry", {})})


_CUT: Final = BusyError(
    "the server shut down before the picture was done", hint="try again", retry_after=10
)
_BUG: Final = InternalError("the server failed", hint="this is a bug, the server's log has more")


class _Exchange:
    """A request's messages, looked at as they pass.

    A client that is refused before its body has been read gets its answer only after the
    rest was taken and dropped: many send all before they listen. Past the limits, and
    where the body came too slowly already, the connection is closed.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: Settings) -> None:
        self.status = 0
        self.received = 0
        self._receive, self._send, self._settings = receive, send, settings
        headers = Headers(scope=scope)
        self._ended = not ("content-length" in headers or "transfer-encoding" in headers)
        self._asks_first = "expect" in headers

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        else:
            self._ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers.update(SECURITY)
            headers.setdefault("Cache-Control", "no-store")
            if not self._ended and not self._asks_first and message["status"] != 408:
                await self._drop_rest()
            if not self._ended:
                headers["Connection"] = "close"
            self.status = message["status"]
        await self._send(message)

    async def _drop_rest(self) -> None:
        most = self.received + self._settings.max_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.patience):
                while not self._ended and self.received <= most:
                    await self.receive()


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, message, and what `extra={"entry": ...}` adds."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= getattr(record, "entry", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
