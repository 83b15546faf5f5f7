import json
from pathlib import Path

import pytest
from command import Command
from engine_files import VERSION, add_engine

from lorair.runtime.backends import BACKENDS
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.doctor import examine
from lorair.runtime.gpu.driver import DriverInfo, GpuInfo
from lorair.runtime.system.extras import install_command


def test_all_backends_are_listed(lorair_run: Command, tiny_bundle: Path) -> None:
    result = lorair_run("doctor", "-b", tiny_bundle)
    assert result.code == 0, result.err
    for name in BACKENDS:
        assert name in result.out
    assert "--backend auto is openvino: the fastest here that an fp32 bundle allows" in result.out


def test_json(lorair_run: Command) -> None:
    report = json.loads(lorair_run("doctor", "--json").out)
    assert set(report) == {*["lorair", "machine", "gpu", "cache", "backends", "engines", "auto"]}
    assert report["machine"]["threads"] >= 1
    assert [row["name"] for row in report["backends"]] == list(BACKENDS)


def test_what_is_missing_comes_with_its_command(
    lorair_run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorair.runtime.backends.backend.is_installed", lambda _: False)
    report, shown = examine(), lorair_run("doctor").out
    for row in report["backends"]:
        assert "is not installed" in row["lacks"]
        assert row["fix"] == install_command(BACKENDS[row["name"]].extra)
        assert f"{row['name']:<18}{row['fix']}\n" in shown
    assert report["auto"] == f"nothing can run a bundle; {install_command('cpu')}"


def test_a_bad_bundle_is_the_user_s_mistake(lorair_run: Command) -> None:
    result = lorair_run("doctor", "-b", "nowhere")
    assert result.code == 2
    assert "no bundle at nowhere" in result.error


def test_a_gpu_and_engines_that_do_not_fit_it(
    lorair_run: Command, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_engine(bundle, "restorer", sms=(86,))
    add_engine(bundle, "router", version="1.8.0")
    (bundle.path / "engines" / "lonely.engine").write_bytes(b"x")
    card = GpuInfo("RTX 4090", 89, 24 << 30)
    for module in ("driver", "engine_fit"):
        monkeypatch.setattr(
            f"lorair.runtime.gpu.{module}.examine", lambda: DriverInfo("13.0", (card,))
        )
    monkeypatch.setattr("lorair.runtime.gpu.engine_fit.version", lambda name: VERSION)
    report = json.loads(lorair_run("doctor", "-b", bundle.path, "--json").out)
    assert report["gpu"]["gpus"] == [{"name": "RTX 4090", "sm": 89, "memory": 24 << 30}]
    lacks = {row["branch"]: row["lacks"] for row in report["engines"]}
    assert lacks["restorer"] == "it is for compute capability 8.6, this GPU has 8.9"
    assert lacks["router"] == "it was built with tensorrt-rtx 1.8.0, here is 1.7.1"
    assert "wanted a record beside it" in lacks[None]
    rtx = next(row for row in report["backends"] if row["name"] == "tensorrt-rtx")
    assert "`lorair-export engine" in rtx["lacks"]
    shown = lorair_run("doctor", "-b", bundle.path)
    assert "RTX 4090, 8.9, 24 GiB" in shown.out
    assert "Engines" in shown.out
