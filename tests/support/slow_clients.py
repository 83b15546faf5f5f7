"""Clients that are slow on purpose, each for as long as it is let, and wrk."""

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/restore%s" + HOST + b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n%s"

Step = Callable[[socket.socket], Coroutine[Any, Any, Any]]


class Slow:
    """Connections that are opened again as soon as the server closes them.

    Args:
        url: of the server.
        opening: what each connection sends at once, in turn.
        step: what it does each second then.
    """

    def __init__(self, url: str, opening: list[bytes], step: Step) -> None:
        found = urllib.parse.urlsplit(url)
        self._address = (found.hostname, found.port)
        self._opening, self._step = opening, step
        self.opened = 0
        """Connections, those that were opened again included."""

    async def run(self, connections: int) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(connections):
                opening = self._opening[number % len(self._opening)]
                tasks.create_task(self._one(opening))

    async def _one(self, opening: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as sock:
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                try:
                    await loop.sock_connect(sock, self._address)
                    self.opened += 1
                    await loop.sock_sendall(sock, opening)
                    while True:
                        await self._step(sock)
                        await asyncio.sleep(1)
                except OSError:
                    await asyncio.sleep(0.01)


async def send_a_line(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, b"X-Slow: 1\r\n")


async def send_a_byte(sock: socket.socket) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, b"x")


async def take_a_byte(sock: socket.socket) -> None:
    if not await asyncio.get_running_loop().sock_recv(sock, 1):
        raise ConnectionError


def heads(url: str) -> Slow:
    """Requests whose head never ends."""
    return Slow(url, [b"POST /v1/restore" + HOST], send_a_line)


def bodies(url: str) -> Slow:
    """Bodies that never end: nothing at first, and more than is held without a place."""
    return Slow(url, [POST % (b"", 60_000_000, bytes(size)) for size in (0, 100_000)], send_a_byte)


def reads(url: str, picture: bytes) -> Slow:
    """Answers that are taken byte by byte: restored pictures, and many files at once."""
    return Slow(
        url,
        [POST % (b"?format=bmp", len(picture), picture),
         *[(b"GET /example.jpg" + HOST + b"\r\n") * 100] * 2],
        take_a_byte,
    )  # fmt: skip


_WRK = """
wrk.method, wrk.headers["Content-Type"] = "POST", "image/png"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args) right, busy, other = 0, 0, 0 end
function response(status, headers, body)
    if status == 200 and body:sub(2, 4) == "PNG" then right = right + 1
    elseif status == 503 and tonumber(headers["retry-after"]) then busy = busy + 1
    else other = other + 1 end
end
function done(summary, latency, requests)
    local sums = {right = 0, busy = 0, other = 0}
    for _, thread in ipairs(threads) do
        for name, sum in pairs(sums) do sums[name] = sum + thread:get(name) end
    end
    local errors = summary.errors
    print(string.format('{"right": %%d, "busy": %%d, "other": %%d, "errors": %%d}', sums.right,
        sums.busy, sums.other, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def wrk(url: str, picture: bytes, seconds: float, meanwhile: Callable[[], None]) -> dict[str, int]:
    """Send the picture over 64 connections as fast as wrk can.

    Returns:
        how many answers were restored pictures (`right`), 503 with `Retry-After` (`busy`) or
        something `other`, and how many `errors` connections had.
    """
    assert shutil.which("wrk"), "wrk is not installed; on Debian: apt install wrk"
    with tempfile.TemporaryDirectory() as name:
        source, script = Path(name, "picture.png"), Path(name, "script.lua")
        source.write_bytes(picture)
        script.write_text(_WRK % source)
        command = ["wrk", "-t2", "-c64", f"-d{seconds:g}s", "--timeout", "60s", "-s", script]
        process = subprocess.Popen(
            [*command, f"{url}/v1/restore"], stdout=subprocess.PIPE, text=True
        )
        while process.poll() is None:
            meanwhile()
        out, _ = process.communicate()
    counts: dict[str, int] = json.loads(out.splitlines()[-1])
    return counts
