"""The paths, over a stub: what is answered, what is refused, and how."""

import errno
import io
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_decoder import COMMAND, Deed
from PIL import Image
from stub_restorer import png

from lorair.runtime.decoding.pool import Decoders
from lorair.runtime.errors import InternalError, OutOfMemoryError, PictureError
from lorair.runtime.images import FORMATS
from lorair.runtime.serve import schema, service
from lorair.runtime.serve.observe import JsonLines

PNG = {"Content-Type": "image/png"}


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The problem that an answer is, checked for its form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["what"]
    assert found["what"] in found["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "/tmp" not in answer.text
    assert "lorair-serve-" not in answer.text
    return found


def test_a_picture_comes_back_restored(make: Callable[..., Any]) -> None:
    client, _, _ = make()
    answer = client.post("/v1/restore", content=png(), headers=PNG)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert np.asarray(image).reshape(-1, 3).tolist() == [[215, 255, 0]] * 48
    route = json.loads(answer.headers["x-lorair-route"])
    assert (route["class"], route["width"], route["height"]) == ("rain", 8, 6)
    assert route["gates"] == {"snow": 0, "rain": 1, "raindrop": 0}
    assert sum(route["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert "restorer;dur=250.0" in answer.headers["server-timing"]
    assert "queue;dur=" in answer.headers["server-timing"]


def test_a_form_is_as_good_and_its_names_mean_nothing(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    client, _, _ = make()
    monkeypatch.chdir(tmp_path)
    direct = client.post("/v1/restore", content=png(), headers=PNG).content
    for name in ("../../escaped.png", "/etc/passwd", "a\x00b", "..\\..\\x", "picture", "💾.png"):
        answer = client.post("/v1/restore", files={"picture": (name, png(), "image/png")})
        assert answer.status_code == 200
        assert answer.content == direct
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", schema.MEDIA)
def test_every_format(make: Callable[..., Any], name: str) -> None:
    client, _, _ = make()
    answer = client.post(f"/v1/restore?format={name}", content=png(), headers=PNG)
    assert answer.headers["content-type"] == schema.MEDIA[name]
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (8, 6)
        assert Image.MIME[image.format or ""] == schema.MEDIA[name]


def test_the_formats_are_those_of_the_runtime() -> None:
    assert list(schema.MEDIA) == [f.endings[0][1:] for f in FORMATS]
    literal = schema.RestoreQuery.model_json_schema()["properties"]["format"]["enum"]
    assert literal == list(schema.MEDIA)


@pytest.mark.parametrize(
    ("query", "gates"),
    [("expert=snow", [1, 0, 0]), ("gates=rain%3D0.75,snow%3D0.25", [0.25, 0.75, 0])],
)
def test_gates_by_hand(make: Callable[..., Any], query: str, gates: list[float]) -> None:
    client, _, _ = make()
    answer = client.post(f"/v1/restore?{query}", content=png(), headers=PNG)
    assert list(json.loads(answer.headers["x-lorair-route"])["gates"].values()) == gates


@pytest.mark.parametrize(
    ("query", "what", "wanted"),
    [
        ("format=gif", "format", "'png', 'jpg'"),
        ("quality=50", "quality", "a lossy format"),
        ("format=jpg&quality=0", "quality", "greater than or equal to 1"),
        ("expert=fog", "expert", "one of snow, rain, raindrop"),
        ("expert=rain&gates=rain=1", "expert", "no --gates beside it"),
        ("gates=rain=0.5", "gates", "shares that sum to 1"),
        ("gates=rain=nan", "gates", "shares of 0 to 1"),
        ("strength=1.5", "strength", "less than or equal to 1"),
        ("tile=5", "tile", "128 to 1024"),
        ("tile=99999", "tile", "128 to 1024"),
        ("tile=off", "tile", "pattern"),
        ("colour=red", "colour", "one of the options format, quality, expert"),
        ("id=..%2F..%2Fx", "id", "pattern"),
    ],
)
def test_options_that_cannot_be(
    make: Callable[..., Any], query: str, what: str, wanted: str
) -> None:
    client, _, _ = make()
    found = problem(client.post(f"/v1/restore?{query}", content=png(), headers=PNG), 422)
    assert found["what"] == what
    assert wanted in found["wanted"]


def test_messages_are_whole_sentences(make: Callable[..., Any]) -> None:
    """No words of the libraries', and what would have been right."""
    client, _, _ = make(token="secret")
    known = {"Authorization": "Bearer secret"}
    for query, words in (
        ("format=gif", "format: wanted 'png', 'jpg', 'webp', 'tiff', 'bmp' or 'avif', found gif"),
        ("tile=5", "tile: wanted a side of 128 to 1024 pixels, found 5"),
        ("quality=x&format=jpg", "quality: wanted a valid integer"),
    ):
        found = problem(client.post(f"/v1/restore?{query}", headers={**PNG, **known}), 422)
        assert words in found["detail"]
    for method, path, status, words in (
        ("GET", "/nowhere", 404, "no such path: wanted /, /v1/restore, "),
        ("GET", "/v1/restore", 405, "no such method here: wanted POST, found GET /v1/restore"),
    ):
        assert words in problem(client.request(method, path, headers=known), status)["detail"]
    for headers, words in (({}, "none"), ({"Authorization": "Bearer other"}, "a wrong one")):
        found = problem(client.get("/v1/models", headers=headers), 401)
        assert f"the server is locked: wanted the server's token, found {words}" in found["detail"]


def test_strength(make: Callable[..., Any]) -> None:
    client, restorer, _ = make()
    for strength in (0.25, 1):
        answer = client.post(f"/v1/restore?strength={strength}", content=png(), headers=PNG)
        assert (answer.status_code, restorer.strength) == (200, strength)


def test_what_is_no_picture(make: Callable[..., Any]) -> None:
    client, _, _ = make(max_pixels=1000)
    for content in (b"", b"\x00" * 50, b"GIF89a", png()[:45], b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        for path in ("/v1/restore", "/v1/route"):
            found = problem(client.post(path, content=content, headers=PNG), 422)
            assert found["what"] == "cannot read the picture"
    found = problem(client.post("/v1/restore", content=png(40, 40), headers=PNG), 422)
    assert found["what"] == "cannot restore the picture"
    assert "40x40" in found["found"]


def test_a_picture_that_never_ends_stalls_nobody(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(service, "Decoders", partial(Decoders, command=COMMAND))
    client, _, _ = make(jobs=2, decode_timeout=60)
    bad = Deed("hold", tmp_path)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/v1/restore", content=bad.path.read_bytes(), headers=PNG)
        process = bad.process()
        for path in ("/v1/restore", "/v1/route"):
            assert client.post(path, content=png(), headers=PNG).status_code == 200
        assert not asked.done()
        os.kill(process, signal.SIGKILL)
        bad.wait_for_its_end()
        found = problem(asked.result(), 422)
    assert found["found"] == "one that ends its decoder (signal SIGKILL)"
    for _ in range(3):
        assert client.post("/v1/restore", content=png(), headers=PNG).status_code == 200


def test_content_types(make: Callable[..., Any]) -> None:
    client, _, _ = make()
    for kind in ("text/html", "image/svg+xml", "application/json", "multipart/mixed"):
        answer = client.post("/v1/restore", content=png(), headers={"Content-Type": kind})
        assert problem(answer, 415)["found"] == kind
    for kind in ("", "application/x-www-form-urlencoded"):  # curl --data-binary sends the latter
        answer = client.post("/v1/restore", content=png(), headers={"Content-Type": kind})
        assert answer.status_code == 200
    odd = {"Content-Type": "IMAGE/PNG; charset=x"}
    assert client.post("/v1/restore", content=png(), headers=odd).status_code == 200
    for body in (
        b"",
        b"no form",
        b"--x\r\n\r\n",
        b"--x\r\nContent-Disposition: a\r\n\r\n\r\n--x--",
    ):
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        problem(client.post("/v1/restore", content=body, headers=kind), 400)
    kind = {"Content-Type": "multipart/form-data"}
    problem(client.post("/v1/restore", content=b"", headers=kind), 400)
    two = [("picture", ("a", png())), ("picture", ("b", png()))]
    problem(client.post("/v1/restore", files=two), 400)


def test_long_bodies_end_at_the_limit(make: Callable[..., Any]) -> None:
    client, _, _ = make(max_bytes=20_000)
    declared = client.post("/v1/restore", content=bytes(20_001), headers=PNG)
    assert problem(declared, 413)["found"] == "20001 bytes"
    taken: list[int] = []

    def endless() -> Any:
        for count in range(1_000):
            taken.append(count)
            yield bytes(1_000)

    problem(client.post("/v1/restore", content=endless(), headers=PNG), 413)
    big = {"picture": ("x", bytes(40_000))}
    problem(client.post("/v1/restore", files=big), 413)


def test_a_refused_client_may_send_all_it_has(make: Callable[..., Any]) -> None:
    client, _, service = make()
    service.queue.drain()
    answer = client.post("/v1/restore", content=bytes(300_000), headers=PNG)
    assert problem(answer, 503)["what"] == "the server is shutting down"
    assert "connection" not in answer.headers
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").json() == {"status": "ok"}


def test_over_the_queue_is_503(make: Callable[..., Any]) -> None:
    client, restorer, service = make(queue=1)
    restorer.open.clear()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.post, "/v1/restore", content=png(), headers=PNG)
        assert restorer.began.acquire(timeout=60)
        waiting = pool.submit(client.post, "/v1/restore", content=png(), headers=PNG)
        _until(lambda: service.queue.waiting == 1)
        refused = client.post("/v1/restore", content=png(), headers=PNG)
        assert problem(refused, 503)["what"] == "the server is busy"
        assert "lorair_queue_length 1.0" in client.get("/metrics").text
        assert "lorair_in_flight 1.0" in client.get("/metrics").text
        restorer.open.set()
        assert {running.result(60).status_code, waiting.result(60).status_code} == {200}


def test_progress_of_a_named_request(make: Callable[..., Any]) -> None:
    client, restorer, service = make(queue=2)
    assert client.get("/v1/progress/nobody-knows").json()["state"] == "unknown"
    restorer.open.clear()
    restorer.tiles = 2
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/v1/restore?id=first-one", content=png(), headers=PNG)
        assert restorer.began.acquire(timeout=60)
        second = pool.submit(client.post, "/v1/restore?id=second-one", content=png(), headers=PNG)
        _until(lambda: service.queue.waiting == 1)
        running = client.get("/v1/progress/first-one").json()
        assert running == {"state": "running", "ahead": 0, "fraction": 0, "detail": ""}
        assert client.get("/v1/progress/second-one").json()["state"] == "queued"
        restorer.open.set()
        assert {first.result(60).status_code, second.result(60).status_code} == {200}
    assert client.get("/v1/progress/first-one").json()["state"] == "unknown"


def test_out_of_time(make: Callable[..., Any]) -> None:
    client, restorer, service = make(timeout=0.05)
    restorer.open.clear()
    late = client.post("/v1/restore", content=png(), headers=PNG)
    assert problem(late, 503)["what"] == "the picture was not done in time"
    restorer.open.set()
    _until(lambda: service.queue.running == 0)
    restorer.error = PictureError("it is looked at again")
    problem(client.post("/v1/restore", content=png(), headers=PNG), 422)


def test_a_full_disk_is_the_servers(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _, _ = make()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for method in ("write_bytes", "replace"):  # of the request's picture, of the restored one
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, full)
            answer = client.post("/v1/restore", content=png(), headers=PNG)
        found = problem(answer, 503)
        assert found["found"] == "No space left on device"
        assert found["hint"] == "free some space on the server"
    wide = client.post("/v1/restore?format=jpg", content=png(70_000), headers=PNG)
    assert problem(wide, 422)["hint"] == "another format, such as .png, may hold such a picture"


def test_memory_and_bugs(make: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    client, restorer, _ = make()
    restorer.error = OutOfMemoryError("memory ran out")
    problem(client.post("/v1/restore", content=png(), headers=PNG), 503)
    restorer.error = InternalError("no picture")
    problem(client.post("/v1/restore", content=png(), headers=PNG), 500)
    restorer.error = ZeroDivisionError("secret of the server")
    answer = client.post("/v1/restore", content=png(), headers=PNG)
    assert problem(answer, 500)["what"] == "the server failed"
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    restorer.error = None
    assert client.post("/v1/restore", content=png(), headers=PNG).status_code == 200


def test_models_routes_and_metrics(make: Callable[..., Any]) -> None:
    client, _, _ = make(jobs=2, queue=7)
    models = client.get("/v1/models").json()
    assert models["models"][0]["classes"] == ["snow", "rain", "raindrop"]
    assert models["limits"]["at_once"] == 2
    route = client.post("/v1/route", content=png(), headers=PNG).json()
    assert (route["class"], route["unsure"]) == ("rain", False)
    client.post("/v1/restore", content=png(), headers=PNG)
    client.get("/nowhere/secret-name.png")
    text = client.get("/metrics").text
    assert 'lorair_requests_total{code="200",path="/v1/restore"} 1.0' in text
    assert 'lorair_requests_total{code="404",path="other"} 1.0' in text
    assert 'lorair_stage_seconds_count{stage="restorer"} 1.0' in text
    assert "lorair_pixels_total 48.0" in text
    assert "lorair_queue_limit 7.0" in text
    assert "secret" not in text


def test_the_log_has_no_names(make: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    client, _, _ = make()
    with caplog.at_level(logging.INFO, "lorair.serve"):
        client.post("/v1/restore?id=my-own-name", files={"picture": ("aunt.png", png())})
        client.get("/private/aunt.png?x=1")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records
             if record.name == "lorair.serve"]  # fmt: skip
    assert [(n["path"], n["status"]) for n in lines] == [("/v1/restore", 200), ("other", 404)]
    assert lines[0]["pixels"] == 48
    assert "aunt" not in str(lines)
    assert "my-own-name" not in str(lines)


def test_nothing_may_be_loaded_from_elsewhere(make: Callable[..., Any]) -> None:
    client, _, _ = make()
    for path in ("/", "/style.css", "/app.js", "/icon.svg", "/example.jpg"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        if path != "/example.jpg":
            assert set(re.findall(r"[\w:]*//[\w.]+[\w./]*", answer.text)) <= {
                "http://www.w3.org/2000/svg"  # a name, never loaded
            }
    for path in (
        "/../pyproject.toml",
        "/static/app.js",
        "/%2e%2e/settings.py",
        "/style.css/app.js",
    ):
        assert client.get(path).status_code == 404
    assert (
        client.options("/v1/restore", headers={"Origin": "http://evil.example"}).status_code == 405
    )
    assert "access-control-allow-origin" not in client.get("/v1/models").headers


def _until(is_so: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    tick = threading.Event()
    for _ in range(6_000):
        if is_so():
            return
        tick.wait(0.01)
    raise AssertionError("it never came to be")
