"""Who may ask: names, sites, tokens."""

from collections.abc import Callable
from typing import Any

import pytest
from stub_restorer import png

from lorair.runtime.errors import OptionError
from lorair.runtime.serve.entry import is_loopback
from lorair.runtime.serve.settings import Settings

PNG = {"Content-Type": "image/png"}
LOOPBACK = ("localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000")
FOREIGN = ("evil.example", "evil.example:8000", "localhost.evil.example", "evil@localhost", "",
           "10.0.0.1", "[::2]", "::1", "localhost:80:80", "127.0.0.1.evil.example")  # fmt: skip


def answered(client: Any, host: str, path: str = "/") -> int:
    answer = client.get(path, headers={"Host": host})
    if answer.status_code == 421:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "--allowed-host" in answer.json()["hint"]
    return int(answer.status_code)


def test_without_a_token_only_names_of_this_machine(make: Callable[..., Any]) -> None:
    client, _, _ = make()
    for path in ("/", "/v1/models", "/metrics", "/nowhere"):
        expected = 404 if path == "/nowhere" else 200
        assert {answered(client, host, path) for host in LOOPBACK} == {expected}
        assert {answered(client, host, path) for host in FOREIGN} == {421}
    for probe in ("/healthz", "/readyz"):  # which Kubernetes asks for by the pod's address
        assert answered(client, "10.1.2.3:8000", probe) == 200
    rebound = client.post("/v1/restore", content=png(), headers={**PNG, "Host": "evil.example"})
    assert rebound.status_code == 421


def test_names_that_are_given(make: Callable[..., Any]) -> None:
    names = ("restore.example.org", "10.0.0.1", "fe80::1")
    shown = ("Restore.Example.org:443", "10.0.0.1:8000", "[fe80::1]:8000", *LOOPBACK)
    for token in (None, "s3cret"):
        client, _, _ = make(allowed_hosts=names, token=token)
        assert {answered(client, host) for host in shown} == {200}
        assert {answered(client, host) for host in ("example.org", "10.0.0.2", "")} == {421}


def test_with_a_token_alone_any_name(make: Callable[..., Any]) -> None:
    client, _, _ = make(token="s3cret")
    assert {answered(client, host) for host in (*LOOPBACK, *FOREIGN)} == {200}
    assert answered(client, "evil.example", "/v1/models") == 401


@pytest.mark.parametrize("name", ["", "http://here", "here:80", "*.example.org", "[::1]"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(OptionError, match="allowed-host"):
        Settings(allowed_hosts=(name,))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # curl
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:8000"}, 200),  # over HTTP a browser says no more
        ({"Origin": "https://proxied.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_posts_of_other_sites(
    make: Callable[..., Any], headers: dict[str, str], status: int
) -> None:
    client, restorer, _ = make()
    sent = {**PNG, "Host": "localhost:8000", **headers}
    for path in ("/v1/restore", "/v1/route"):
        answer = client.post(path, content=png(), headers=sent)
        assert answer.status_code == status
        if status == 403:
            assert "another site" in answer.json()["what"]
    assert restorer.began.acquire(blocking=False) == (status == 200)
    assert client.get("/", headers=sent).status_code == 200  # a link from elsewhere


def test_a_token_guards_what_costs(make: Callable[..., Any]) -> None:
    client, _, _ = make(token="s3cret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"},
                    {"Authorization": "Basic s3cret"}, {"Authorization": "Bearer é"}):  # fmt: skip
        raw = {name: value.encode() for name, value in headers.items()}
        refused = client.post("/v1/restore", content=png(), headers=PNG | raw)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    assert client.get("/metrics").status_code == client.get("/v1/models").status_code == 401
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/app.js"):
        assert client.get(path).status_code == 200
    right = {"Authorization": "Bearer s3cret"}
    assert client.get("/v1/models", headers=right).status_code == 200


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.org", "")))
