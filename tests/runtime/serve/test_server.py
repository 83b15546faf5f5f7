"""The command: addresses, tokens, signals, connections that say nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from command import Command
from stub_restorer import png

from lorair.runtime.serve import server

SUPPORT = Path(__file__).parents[2] / "support"


class Process:
    """A server whose first picture is held until `let_go`."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SUPPORT / "held_server.py", "serve", "--port", "0", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        )  # fmt: skip
        self.address = self.line().split("//")[1].split(" ")[0]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def post(self) -> httpx.Response:
        url = f"http://{self.address}/v1/restore"
        return httpx.post(url, content=png(), headers={"Content-Type": "image/png"}, timeout=60)

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def is_listening(self) -> bool:
        host, _, port = self.address.partition(":")
        try:
            socket.create_connection((host, int(port)), 30).close()
        except ConnectionError:
            return False
        return True


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    made: list[Process] = []
    yield made
    for held in made:
        held.process.kill()
        held.process.communicate()


def test_sigterm_answers_what_was_taken_and_refuses_the_rest(processes: list[Process]) -> None:
    held = Process()
    processes.append(held)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(held.post)
        assert held.line() == "began\n"
        held.process.send_signal(signal.SIGTERM)
        tick = threading.Event()
        while held.is_listening():
            tick.wait(0.02)
        with pytest.raises(httpx.ConnectError):
            held.post()
        held.let_go()
        assert taken.result(60).status_code == 200
    assert held.process.wait(60) == 0
    assert held.process.stderr is not None
    lines = [json.loads(line) for line in held.process.stderr]
    assert [line["message"] for line in lines] == ["serving", "shutting down", "request"]
    assert f"{lines[0]['address'][0]}:{lines[0]['address'][1]}" == held.address


def test_the_time_to_end_in_is_kept(processes: list[Process]) -> None:
    held = Process("--grace", "1")
    processes.append(held)
    with ThreadPoolExecutor(1) as pool:
        taken: Any = pool.submit(held.post)
        assert held.line() == "began\n"
        held.process.send_signal(signal.SIGTERM)
        assert held.process.wait(60) == 1
        assert taken.result(60).status_code == 503
        assert "shut down before" in taken.result(60).json()["what"]


def test_a_killed_servers_pictures_go_with_the_next(
    processes: list[Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def pictures() -> int:
        return len(list(tmp_path.rglob("picture")))

    killed, living = Process(), Process()
    processes += [killed, living]
    with ThreadPoolExecutor(2) as pool:
        lost, kept = pool.submit(killed.post), pool.submit(living.post)
        assert killed.line() == living.line() == "began\n"
        assert pictures() == 2
        killed.process.kill()
        killed.process.wait()
        assert isinstance(lost.exception(60), httpx.TransportError)
        processes.append(Process())
        assert pictures() == 1
        living.let_go()
        assert kept.result(60).status_code == 200
    for held in processes[1:]:
        held.process.terminate()
        assert held.process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


def test_only_this_machine_without_a_token(lorair_run: Command) -> None:
    for host in ("0.0.0.0", "192.168.1.7", "::", "example.org"):
        done = lorair_run("serve", "--host", host, "-b", "nowhere")
        assert done.code == 2
        assert "--host" in done.error
        assert "LORAIR_TOKEN" in done.error
    assert "no bundle" in lorair_run("serve", "--host", "::1", "--port", "0", "-b", "/no").error


@pytest.mark.parametrize("token", ["", "two words", "ü"])
def test_tokens_that_cannot_be(lorair_run: Command, token: str) -> None:
    done = lorair_run("serve", "--token", token, "-b", "nowhere")
    assert done.code == 2
    assert "--token" in done.error


def test_a_taken_port_is_an_error(lorair_run: Command) -> None:
    with server.listen("127.0.0.1", 0) as taken:
        done = lorair_run("serve", "--port", taken.getsockname()[1], "-b", "nowhere")
    assert done.code == 2
    assert "choose another port" in done.error
