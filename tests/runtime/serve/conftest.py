"""A service on a stub, and a client of its app."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from stub_restorer import StubRestorer

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from lorair.runtime.serve.app import create_app
from lorair.runtime.serve.service import Service
from lorair.runtime.serve.settings import Settings

Made = tuple[TestClient, StubRestorer, Service]


@pytest.fixture
def make() -> Iterator[Callable[..., Made]]:
    """Settings -> client, restorer, service; all closed at the end."""
    made: list[tuple[StubRestorer, Service]] = []

    def make(jobs: int = 1, **settings: Any) -> Made:
        limits = Settings(**{"decode_timeout": 0, **settings})  # no processes to wait for
        restorer = StubRestorer(jobs)
        service = Service(restorer, limits)  # type: ignore[arg-type]
        made.append((restorer, service))
        app = create_app(service, limits)
        return TestClient(app, base_url="http://localhost"), restorer, service

    yield make
    for restorer, service in made:
        restorer.open.set()
        assert service.close(60)
