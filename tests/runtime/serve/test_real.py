"""On a real bundle: the same bytes as from file to file, and hostile bodies."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from serve_check import mutated, seeds

from lorair import Restorer
from lorair.runtime.serve.app import create_app
from lorair.runtime.serve.service import Service
from lorair.runtime.serve.settings import Settings

LIMITS = Settings(max_pixels=100_000, max_bytes=1_000_000, allowed_hosts=("testserver",))


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Service]:
    service = Service(Restorer.open(tiny_bundle, "onnxruntime", threads=1), LIMITS)
    yield service
    assert service.close(60)


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(create_app(service, LIMITS))


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_the_bytes_are_those_of_restore_file(
    service: Service, client: TestClient, picture_file: Path, tmp_path: Path, ending: str
) -> None:
    target = tmp_path / f"out.{ending}"
    service.restorer.restore_file(picture_file, target)
    for _ in range(2):
        answer = client.post(
            f"/v1/restore?format={ending}",
            content=picture_file.read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
        )
        assert answer.content == target.read_bytes()


def test_what_came_before_changes_nothing(
    tiny_bundle: Path, service: Service, client: TestClient, picture_file: Path
) -> None:
    kind = {"Content-Type": "image/png"}
    content, answers = picture_file.read_bytes(), {}
    for expert in ("raindrop", "snow", "rain"):
        url = f"/v1/restore?expert={expert}"
        answers[expert] = client.post(url, content=content, headers=kind).content
    assert len(set(answers.values())) == 3
    fresh = Service(Restorer.open(tiny_bundle, "onnxruntime", threads=1), LIMITS)
    again = TestClient(create_app(fresh, LIMITS))
    for expert in ("rain", "raindrop", "snow"):
        url = f"/v1/restore?expert={expert}"
        assert again.post(url, content=content, headers=kind).content == answers[expert]
    assert fresh.close(60)


def test_hostile_pictures(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rng, known = random.Random(3), seeds()
    for _ in range(300):
        path = rng.choice(["/v1/restore", "/v1/route"])
        body = mutated(rng, rng.choice(known))
        kind = {"Content-Type": "application/octet-stream"}
        answer = client.post(path, content=body, headers=kind)
        assert answer.status_code in (200, 422), answer.text
    assert list(tmp_path.iterdir()) == []


def test_requests_made_up_from_the_schema(client: TestClient) -> None:
    """Every answer is as the schema says; that bytes are a picture no schema can say."""
    import schemathesis  # two seconds, which every worker would pay at the file's beginning
    from schemathesis.config import SchemathesisConfig
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    config = SchemathesisConfig.from_dict({"generation": {"max-examples": 15}})
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app, config=config)
    for operation in schema.get_all_operations():
        strategy = operation.ok().as_strategy()

        @settings(max_examples=15, deadline=None, database=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=strategy)
        def check(case: schemathesis.Case) -> None:
            answer = case.call()
            assert answer.status_code < 500 or answer.status_code == 503
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        check()
