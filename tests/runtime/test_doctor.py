import json
from pathlib import Path

import pytest
from command import Command

from lorair.runtime.backends import BACKENDS
from lorair.runtime.doctor import examine


def test_all_backends_are_listed(lorair_run: Command, tiny_bundle: Path) -> None:
    result = lorair_run("doctor", "-b", tiny_bundle)
    assert result.code == 0, result.err
    for name in BACKENDS:
        assert name in result.out
    assert "--backend auto is openvino: the fastest here that an fp32 bundle allows" in result.out


def test_json(lorair_run: Command) -> None:
    report = json.loads(lorair_run("doctor", "--json").out)
    assert set(report) == {"lorair", "machine", "cache", "backends", "auto"}
    assert report["machine"]["threads"] >= 1
    assert [row["name"] for row in report["backends"]] == list(BACKENDS)


def test_what_is_missing_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("lorair.runtime.doctor.version", nothing)
    monkeypatch.setattr("lorair.runtime.backends.is_installed", lambda _: False)
    report = examine()
    for row in report["backends"]:
        assert "is not installed" in row["lacks"]
        assert row["install"].startswith("pip install 'lorair[")
    assert report["auto"] == "nothing can run a bundle; pip install 'lorair[cpu]'"


def test_a_bad_bundle_is_the_user_s_mistake(lorair_run: Command) -> None:
    result = lorair_run("doctor", "-b", "nowhere")
    assert result.code == 2
    assert "no bundle at nowhere" in result.error
