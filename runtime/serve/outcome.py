"""Waiting for work, and sending what came out."""

import asyncio
import math
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from lorair.runtime.errors import BusyError
from lorair.runtime.serve.places import Place
from lorair.runtime.serve.work import Work, WorkQueue

T = TypeVar("T")

_BLOCK = 256 * 1024


class ClientGoneError(Exception):
    """The client has hung up; nobody is there to answer."""


async def outcome(queue: WorkQueue, work: Work[T], timeout: float, request: Request) -> T:
    """Return the result of a request's work, whose body has been read, within `timeout` seconds.

    The work is dropped at the end of the time, and if the request's client leaves.

    Raises:
        BusyError: the time is over.
        ClientGoneError: the client left.
        LorairError: what the work raises.
    """
    result = asyncio.wrap_future(work.future)
    gone: asyncio.Future[None] = asyncio.ensure_future(_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {result, gone}
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise ClientGoneError
        raise _late(timeout, queue.retry_after())
    finally:
        gone.cancel()
        if not result.done():
            queue.cancel(work)
            result.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _late(timeout: float, wait: int) -> BusyError:
    return BusyError(
        "the picture was not done in time",
        wanted=f"at most {timeout:g} s, waiting included",
        found="more",
        hint=f"try again in {wait} s, or with a smaller picture; the server's --timeout is the "
        "limit",
        retry_after=math.ceil(wait),
    )


class PatientResponse(Response):
    """A picture in blocks, given up if the client does not take one in `patience` seconds.

    The request's place may go to another while a block is not taken.
    """

    def __init__(
        self,
        content: bytes,
        place: Place,
        patience: float,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._place, self._patience = place, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        body = memoryview(self.body)
        with suppress(TimeoutError):  # Uvicorn hangs up on an answer that was not ended
            for place in range(0, len(body) or 1, _BLOCK):
                block = {"body": bytes(body[place : place + _BLOCK])}
                more = place + _BLOCK < len(body)
                async with self._place.pace(self._patience):
                    await send({"type": "http.response.body", "more_body": more, **block})
