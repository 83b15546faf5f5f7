import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from command import Command
from processes import LIMIT, console_script, wait_for

from lorair import Restorer
from lorair.exporter import build
from lorair.kernels import aot
from lorair.runtime.bundle.manifest import Bundle

Files = tuple[Path, Path]


@pytest.fixture
def weights(tiny_files: Files) -> tuple[Any, ...]:
    """The options that name the tiny model's files."""
    return "--ir-weights", tiny_files[0], "--router-weights", tiny_files[1]


def test_build_writes_a_bundle_that_opens(
    lorair_export: Command, weights: Any, photo: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "deep" / "bundle"
    options = ("--top-k", 2, "--classes", "fog, dust,noise", "-o", output, "--warm")
    result = lorair_export("build", *weights, *options)
    assert result.code == 0, result.err
    assert "compile" in result.err
    assert "fog, dust, noise; top 2" in result.out
    manifest = Bundle.open(output).manifest
    assert (manifest.model.classes, manifest.model.top_k) == (("fog", "dust", "noise"), 2)
    assert manifest.source.kind == "files"
    assert manifest.source.ir is not None
    assert manifest.source.ir.name == weights[1].name
    assert sorted(p.name for p in output.parent.iterdir()) == ["bundle"]
    route = Restorer.open(output).route(photo)
    np.testing.assert_allclose(route.gates, reference.top_k_gates(route.logits, 2), atol=1e-6)


def test_build_with_kernels(
    lorair_export: Command, weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their compilation is tested in tests/kernels/test_aot.py."""
    asked = []

    def compile_nothing(*arguments: Any) -> None:
        *asked[:], folder = arguments
        folder.mkdir()
        aot.write_index(folder, [])

    monkeypatch.setattr(build, "compile_kernels", compile_nothing)
    monkeypatch.setattr(aot, "check_compiler", lambda: None)
    output = tmp_path / "bundle"
    result = lorair_export("build", *weights, "--fp16", "--kernels", "sm_90,sm_80", "-o", output)
    assert result.code == 0, result.err
    assert asked[2:] == ["fp16", (80, 90)]
    assert "kernels/index.json" in Bundle.open(output).manifest.files


def test_build_replaces_a_bundle_and_nothing_else(
    lorair_export: Command, weights: Any, bundle: Bundle, tmp_path: Path
) -> None:
    older = bundle.path
    (older / "leftover").touch()
    assert lorair_export("build", *weights, "-o", older).code == 0
    assert not (older / "leftover").exists()

    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for output in (precious, precious / "thesis.txt"):
        result = lorair_export("build", *weights, "-o", output)
        assert result.code == 2
        assert "cannot write the bundle" in result.error
    assert [p.name for p in precious.iterdir()] == ["thesis.txt"]
    assert (precious / "thesis.txt").read_text() == "years of work"


PAIR = ("--ir-weights", "{ir}", "--router-weights", "{router}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ir-weights", "{ir}"), "wanted both --ir-weights and --router-weights"),
        (("--ir-weights", "{router}", "--router-weights", "{ir}"), "swapped"),
        (("--ir-weights", "no.pth", "--router-weights", "{router}"), "no.pth: wanted a .pth or"),
        ((*PAIR, "--top-k", "4"), "1 to 3"),
        ((*PAIR, "--classes", "a,b"), "3 different"),
        ((*PAIR, "--config", "no.yml"), "no.yml"),
        ((*PAIR, "--from-hub", "a/b"), "both"),
        ((*PAIR, "--images", "none"), "pictures"),
        ((*PAIR, "--max-error", "inf"), "wanted a number"),
        ((*PAIR, "--min-psnr", "nan"), "wanted a number"),
        (("--top-k", "1"), "weights that it belongs to"),
        (("--config", "no.yml"), "weights that it belongs to"),
        (("--kernels", "sm_13"), "sm_89"),
    ],
)
def test_bad_options_leave_nothing_behind(
    arguments: tuple[str, ...],
    words: str,
    lorair_export: Command,
    tiny_files: Files,
    tmp_path: Path,
) -> None:
    ir, router = tiny_files
    filled = [a.format(ir=ir, router=router) for a in arguments]
    result = lorair_export("build", *filled, "-o", tmp_path / "bundle")
    assert result.code == 2
    assert words in result.error
    assert result.error.startswith("error: ")
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_verification_failure_is_exit_code_1(
    lorair_export: Command, weights: Any, tmp_path: Path
) -> None:
    limit = ("--fp16", "--min-psnr", 150)
    result = lorair_export("build", *weights, *limit, "-o", tmp_path / "bundle")
    assert (result.code, "wanted 150 dB" in result.error) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    # What a library swallows is noticed a photograph later: on a busy machine after the grace.
    patient = f"from lorair.runtime.system import termination; termination.GRACE = {LIMIT}"
    arguments = [*console_script("exporter", patient), "build", "-o", tmp_path / "bundle"]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: list(tmp_path.iterdir()) or process.poll() is not None)
        process.terminate()
        assert process.wait(LIMIT) == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_without_permission(lorair_export: Command, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    result = lorair_export("build", "-o", tmp_path / "locked" / "bundle")
    assert (result.code, "no permission" in result.error) == (2, True)


def test_debug_shows_the_traceback(
    lorair_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LORAIR_DEBUG", "1")
    result = lorair_export("build", "-o", tmp_path / "file" / "bundle")
    assert (result.code, "wanted a folder" in result.error) == (2, True)
    assert "Traceback" in result.err


def test_synth_writes_the_released_format(lorair_export: Command, tmp_path: Path) -> None:
    result = lorair_export("synth", "--preset", "tiny", "--seed", 7, "-o", tmp_path, "--json")
    paths = json.loads(result.out)
    ir = torch.load(paths["ir"], weights_only=True)
    assert list(ir) == ["params"]
    again = lorair_export("synth", "--seed", 7, "-o", tmp_path / "again", "--json")
    same = torch.load(json.loads(again.out)["ir"], weights_only=True)
    assert all(torch.equal(t, same["params"][name]) for name, t in ir["params"].items())
    unknown = lorair_export("synth", "--preset", "huge", "-o", tmp_path)
    assert unknown.code == 2
    assert "wanted one of setting1, tiny, found huge" in unknown.error


def test_inspect_a_bundle(lorair_export: Command, tiny_bundle: Path) -> None:
    shown = lorair_export("inspect", tiny_bundle, "--verify")
    assert shown.code == 0
    for words in ("snow, rain, raindrop", "fp32", "restorer.onnx.data", "coffee.jpg", "same"):
        assert words in shown.out
    described = json.loads(lorair_export("inspect", tiny_bundle, "--json").out)
    assert described["model"]["experts"] == 3


def test_inspect_finds_a_changed_byte(
    lorair_export: Command, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a file too large to be hashed at every open."""
    file = bundle.path / "restorer.onnx.data"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr("lorair.runtime.bundle.manifest.HASHED_ON_OPEN", 0)
    assert lorair_export("inspect", bundle.path).code == 0
    result = lorair_export("inspect", bundle.path, "--verify")
    assert result.code == 2
    assert "restorer.onnx.data as it was built, found other content" in result.error


def test_inspect_checkpoints(lorair_export: Command, tiny_files: Files) -> None:
    ir = json.loads(lorair_export("inspect", tiny_files[0], "--json").out)
    assert (ir["branch"], ir["tensors"], ir["config"]["r"]) == ("restoration", 439, 4)
    assert ir["shapes"]["intro.lora_A_list"] == [3, 12, 9]
    router = lorair_export("inspect", tiny_files[1])
    assert "router" in router.out
    assert "bfloat16 (46)" in router.out


@pytest.mark.parametrize("name", ["none", "empty.pth"])
def test_inspect_nothing(name: str, lorair_export: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    result = lorair_export("inspect", tmp_path / name)
    assert result.code == 2
    assert name in result.error
