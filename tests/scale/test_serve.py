"""`lorair-run serve --ray`: two replicas, another bundle under load, a full queue."""

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import LIMIT, wait_for

from lorair.exporter.build import build_bundle
from lorair.exporter.checkpoint.synth import draw_pair, preset
from lorair.runtime.bundle.manifest import Source

pytest.importorskip("ray")
pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "bundle"
    build_bundle(draw_pair(preset("tiny"), seed=2), Source(kind="synthetic", detail="seed 2"), path)
    return path


def free_port() -> int:
    """Ray takes no port 0. Below those that the system gives out, where none comes between."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


@contextmanager
def server(counted: Any, *arguments: Any) -> Iterator[tuple[str, str]]:
    """The server's URL, and the address of its Ray."""
    with counted.start("serve", "--ray", "--port", free_port(), *arguments) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            assert "lorair serves at" in lines[0], process.communicate()[1]
            yield lines[0].split()[3], lines[1].split()[-1]
            process.terminate()
            _, err = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, err
        finally:
            process.kill()


def post(url: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{url}/v1/restore", content=content, timeout=LIMIT,
                      headers={"Content-Type": "image/png"})  # fmt: skip


def test_another_bundle_under_load(
    counted: Any, tiny_bundle: Path, other_bundle: Path, crops: Path
) -> None:
    content = (crops / "p000.png").read_bytes()
    answers: list[tuple[int, bytes]] = []
    stop = threading.Event()

    def load(url: str) -> None:
        while not stop.is_set():
            answer = post(url, content)
            answers.append((answer.status_code, answer.content))

    with server(counted, "-b", tiny_bundle, "--replicas", 2) as (url, address):
        before = post(url, content).content
        with ThreadPoolExecutor(4) as pool:
            loads = [pool.submit(load, url) for _ in range(4)]
            try:
                wait_for(lambda: len(counted.writers) >= 2)
                update = counted.run("serve", "--ray", "--address", address, "-b", other_bundle,
                                     "--replicas", 2, "--port", url.rpartition(":")[2])  # fmt: skip
                assert update.returncode == 0
                enough = len(answers) + 20
                wait_for(lambda: len(answers) >= enough)
            finally:
                stop.set()
            for done in loads:
                done.result()
        after = {post(url, content).content for _ in range(8)}
    assert len(after) == 1
    assert before not in after
    statuses = Counter(status for status, _ in answers)
    print(statuses, "replicas", len(counted.writers))
    assert statuses.keys() == {200}
    assert {content for _, content in answers} == {before, *after}
    assert len(counted.writers) == 4, "two replicas before, two after"


def test_a_full_queue_is_said(counted: Any, default_bundle: Path, crops: Path) -> None:
    content = (crops / "p000.png").read_bytes()
    with server(counted, "-b", default_bundle, "--replicas", 2, "--queue", 1) as (url, _):
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: post(url, content), range(120)))
        statuses = Counter(answer.status_code for answer in answers)
        print(statuses)
        assert statuses.keys() == {200, 503}
        assert len({a.content for a in answers if a.status_code == 200}) == 1
        assert post(url, content).status_code == 200
