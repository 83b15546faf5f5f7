"""A warmed cache holds all that any picture needs."""

import json
from pathlib import Path

import pytest
from command import Command

from lorair import Restorer
from lorair.runtime.routing.gates import one_expert
from lorair.runtime.system import cache


def test_no_class_compiles_after_it(
    default_bundle: Path, lorair_run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    result = lorair_run("warm", default_bundle, "--backend", "onnxruntime", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["cache"] == str(tmp_path / "cache")
    assert found["bytes"] > 10_000_000
    kept = sorted((tmp_path / "cache").iterdir())
    monkeypatch.setattr("lorair.runtime.backends.onnxruntime.OnnxRuntimeBackend._optimise", None)
    classes = Restorer.open(default_bundle).bundle.manifest.model.classes
    assert len(kept) == len(classes) + 1
    for name in classes:
        backend = Restorer.open(default_bundle, "onnxruntime").backend
        for gates in (one_expert(name, classes), one_expert(classes[0], classes)):
            backend.load_restorer(gates)


def test_without_a_cache_it_says_so(
    tiny_bundle: Path, lorair_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, "off")
    result = lorair_run("warm", tiny_bundle, "--backend", "onnxruntime")
    assert (result.code, "the cache is off" in result.out) == (0, True)
