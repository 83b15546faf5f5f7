"""Clients that are slow, that leave, and that would keep others out."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from stub_restorer import png

from lorair.runtime.errors import BusyError
from lorair.runtime.serve import server
from lorair.runtime.serve.places import Places
from lorair.runtime.serve.settings import Settings
from lorair.runtime.serve.work import WorkQueue

SECOND = 1_000  # bytes, in the tests of `Places`


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still unless it is told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    async def to(self, now: float) -> None:
        self.now = now
        for _ in range(5):
            await asyncio.sleep(0)


class Clients:
    """Requests that hold places, each in a task that waits for its client."""

    def __init__(self, share: int) -> None:
        self.queue = WorkQueue(1, share - 1)
        self.places = Places(self.queue, Settings(min_rate=SECOND, slack=5, patience=20))
        self.stack, self.tasks = ExitStack(), []

    async def take(self, client: str) -> asyncio.Task[None]:
        place = self.stack.enter_context(self.places.of(client))
        place.take()

        async def wait() -> None:
            async with place.pace(5):
                while True:
                    place.moved(await self.sent[task].get())

        task: asyncio.Task[None] = asyncio.create_task(wait())
        self.sent = {**getattr(self, "sent", {}), task: asyncio.Queue()}
        await asyncio.sleep(0)
        return task


def on_a_clock(share: int, check: Callable[[Clock, Clients], Any]) -> None:
    clients = Clients(share)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Clock)
        with clients.stack:
            await check(loop, clients)

    with asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(main())
    assert clients.places._taken == set()
    assert clients.queue.close(60)


def test_one_address_cannot_have_all_places() -> None:
    async def check(loop: Clock, clients: Clients) -> None:
        for _ in range(2):
            await clients.take("a")
        with pytest.raises(BusyError, match="at most 2 pictures at once"):
            await clients.take("a")
        for _ in range(2):
            await clients.take("b")
        with pytest.raises(BusyError, match="at most 4 pictures at once"):
            await clients.take("c")

    on_a_clock(2, check)


def test_the_slowest_gives_its_place_to_another() -> None:
    async def check(loop: Clock, clients: Clients) -> None:
        slow, slower = [await clients.take("a") for _ in range(2)]
        clients.sent[slow].put_nowait(SECOND // 2)
        await loop.to(1.25)  # 0.75 s behind, and 1.25 s
        await clients.take("a")
        await loop.to(1.25)
        with pytest.raises(TimeoutError):
            await slower
        with pytest.raises(BusyError):
            await clients.take("a")
        assert not slow.done()

    on_a_clock(2, check)


def test_a_minimum_rate_after_a_grace() -> None:
    async def check(loop: Clock, clients: Clients) -> None:
        steady, stalled, silent = [await clients.take(name) for name in "abc"]
        for second in range(1, 20):
            clients.sent[steady].put_nowait(SECOND)
            if second <= 3:
                clients.sent[stalled].put_nowait(9 * SECOND)  # no credit for the pause
            await loop.to(second)
            assert silent.done() == (second >= 5)
            assert stalled.done() == (second >= 8)
            assert not steady.done()
        await loop.to(20)  # the patience, however fast
        assert steady.done()
        assert {type(task.exception()) for task in (steady, stalled, silent)} == {TimeoutError}

    on_a_clock(2, check)


# By hand, message by message ------------------------------------------------------------


def part(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def talk(app: Any, receive: Any, send: Any, client: str = "x") -> None:
    """A request for a restored picture, whose body is to come."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "method": "POST",
        "path": "/v1/restore", "raw_path": b"/v1/restore", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost"), (b"content-type", b"image/png"),
                    (b"transfer-encoding", b"chunked")],
        "scheme": "http", "http_version": "1.1", "client": (client, 1), "server": ("y", 2),
    }  # fmt: skip
    await app(scope, receive, send)


async def exchange(
    app: Any,
    messages: list[dict[str, Any]],
    client: str = "x",
    stall: Callable[[], Any] = lambda: asyncio.Event().wait(),
) -> list[dict[str, Any]]:
    """What the app sends to a client that sends these messages, stalls, and hangs up."""
    sent: list[dict[str, Any]] = []
    queue = iter(messages)

    async def receive() -> dict[str, Any]:
        message = next(queue, None)
        if message is None:
            await stall()
        return message or {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await talk(app, receive, send, client)
    return sent


@pytest.mark.parametrize(
    "limits", [{"patience": 0.05}, {"slack": 0.05}, {"slack": 0.05, "min_rate": 1_000_000_000}]
)
def test_a_slow_sender_is_given_up(make: Callable[..., Any], limits: dict[str, Any]) -> None:
    client, _, _ = make(**{"patience": 1_000.0, "slack": 1_000.0, **limits})
    sending = exchange(client.app, [part(png()[:20], True)])
    start, body = asyncio.run(sending)[:2]
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["what"] == "the body came too slowly"


def test_a_trickle_is_given_up(make: Callable[..., Any]) -> None:
    client, _, _ = make(slack=0.05, min_rate=1_000_000_000)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return part(b"x", True)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(talk(client.app, receive, send))
    assert sent[0]["status"] == 408


async def beside(app: Any, senders: int, body: bytes, clients: str) -> list[int]:
    """The status that each of these clients gets while others have sent this much and stall."""
    stalled, end = asyncio.Semaphore(0), asyncio.Event()

    async def stall() -> None:
        stalled.release()
        await end.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(senders):
            tasks.create_task(exchange(app, [part(body, True)], "a", stall))
        for _ in range(senders):
            await stalled.acquire()
        answers = [await exchange(app, [part(png(), False)], name) for name in clients]
        end.set()
    return [start["status"] for start, *_ in answers]


def test_slow_senders_keep_nobody_out(make: Callable[..., Any]) -> None:
    """Not even of the same address: with next to nothing sent they have no places."""
    client, _, _ = make(queue=1, patience=1_000.0, slack=1_000.0)
    assert asyncio.run(beside(client.app, 200, png()[:20], "ab")) == [200, 200]


def test_one_address_keeps_no_other_out(make: Callable[..., Any]) -> None:
    client, _, _ = make(queue=1, patience=1_000.0, slack=1_000.0, min_rate=1)
    assert asyncio.run(beside(client.app, 2, bytes(100_000), "ab")) == [503, 200]


def test_work_is_dropped_when_the_client_leaves(make: Callable[..., Any]) -> None:
    client, restorer, service = make()
    restorer.open.clear()
    for message in (part(png(), False), part(png()[:9], True)):
        [start, _] = asyncio.run(exchange(client.app, [message], stall=lambda: asyncio.sleep(0)))
        assert start["status"] == 499
    restorer.open.set()
    assert service.close(60)


def test_a_slow_reader_is_given_up(make: Callable[..., Any]) -> None:
    client, _, _ = make(patience=0.05, queue=0)
    sent: list[str] = []

    async def main() -> None:
        messages = iter([part(png(), False)])

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:
                await asyncio.Event().wait()
            assert message is not None
            return message

        async def send(message: Any) -> None:
            sent.append(message["type"])
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        await talk(client.app, receive, send)

    asyncio.run(main())
    assert sent == ["http.response.start", "http.response.body"]
    answer = client.post("/v1/restore", content=png(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200


# On sockets -----------------------------------------------------------------------------


@pytest.fixture
def listening(make: Callable[..., Any]) -> Iterator[tuple[str, int]]:
    """The address of a server in a thread."""
    client, _, service = make()
    with server.listen("127.0.0.1", 0) as sock:
        uvicorn = server.Server(client.app, service, grace=1)
        thread = threading.Thread(target=uvicorn.run, kwargs={"sockets": [sock]})
        thread.start()
        yield sock.getsockname()
        uvicorn.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def connect(address: tuple[str, int], text: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(60)
    sock.connect(address)
    sock.sendall(text)
    return sock


GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_every_head_has_its_time(
    listening: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.1)
    with connect(listening, GET[:20]) as first:
        assert first.recv(1) == b""
    with connect(listening, GET + GET[:20]) as second:
        answer = b"".join(iter(lambda: second.recv(4096), b""))
        assert answer.count(b"HTTP/1.1 200") == 1


def test_a_reader_that_takes_nothing_is_hung_up_on(
    listening: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_WRITE_SECONDS", 0.1)
    body = png(2000, 2000)  # as BMP more than a socket's buffers hold
    head = (b"POST /v1/restore?format=bmp HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(body))  # fmt: skip
    with connect(listening, head + body) as sock:
        while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:  # established
            threading.Event().wait(0.01)


def test_of_too_many_connections_the_oldest_idle_one_goes(
    listening: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MAX_CONNECTIONS", 3)
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(listening, b"GET /slow")) for _ in range(20)]
        url = f"http://localhost:{listening[1]}/healthz"
        assert httpx.get(url).status_code == 200
        for sock in silent[:-3]:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
