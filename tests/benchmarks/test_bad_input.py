"""Every command of lorair-bench on input that is wrong, and stopped in the middle."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command, Result
from experts import experts_report, row
from in_process import InProcess
from PIL import Image
from results import configuration, latency_report

from lorair.benchmarks.commands import measuring
from lorair.benchmarks.experts import measure as experts
from lorair.benchmarks.schema.results_file import read_report, to_json
from lorair.benchmarks.timing import runner
from lorair.runtime.backends import backend


@pytest.fixture
def places(tiny_bundle: Path, tmp_path: Path) -> dict[str, Path]:
    """What `{name}` stands for in the tables below."""
    (tmp_path / "empty").mkdir()
    for name in ("pictures", "clean"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "manifest.json").write_text("{")
    names = ("empty", "pictures", "clean", "text.png", "damaged", "nowhere", "report.json")
    return {"bundle": tiny_bundle, **{name.split(".")[0]: tmp_path / name for name in names}}


LATENCY = "latency --size 32x32 --iterations 1"
THROUGHPUT = "throughput --images {pictures} --rounds 1 --jobs 1"
QUALITY = "quality -i {pictures} -t {clean}"
EXPERTS = "experts --experts 2 --top-k 1 --size 32x32 --rounds 1"
KERNELS = "kernels --size 32x32"
ON_BUNDLES = (LATENCY, THROUGHPUT, QUALITY)


def run(command: Command, places: dict[str, Path], text: str) -> Result:
    return command(*(word.format(**places) for word in text.split()))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        *((f"{c} -b {{nowhere}}", "no bundle at") for c in ON_BUNDLES),
        *((f"{c} -b {{empty}}", "wanted manifest.json") for c in ON_BUNDLES),
        *((f"{c} -b {{damaged}}", "manifest") for c in ON_BUNDLES),
        *((f"{c} -b {{bundle}} --backend abacus", "no backend 'abacus'") for c in ON_BUNDLES),
        *((f"{c} -b {{bundle}} --threads 0", "threads: wanted 1 to") for c in ON_BUNDLES),
        *((f"{c} -b {{bundle}} --report {{empty}}", "found a folder") for c in ON_BUNDLES),
        *(
            (f"{c} -b {{bundle}} --report {{text}}/r.json", "wanted a folder, found")
            for c in ON_BUNDLES
        ),
        *(
            (f"{c} -b {{bundle}} --report {{bundle}}/manifest.json", "an input or output of this")
            for c in ON_BUNDLES
        ),
        (f"{THROUGHPUT} -b {{bundle}} --report {{pictures}}/a.png", "an input or output of this"),
        (f"{QUALITY} -b {{bundle}} --report {{pictures}}/a.png", "an input or output of this"),
        (f"{LATENCY} -b {{bundle}} --size 3", "--size: wanted height x width"),
        (f"{LATENCY} -b {{bundle}} --batch 0", ""),
        (f"{LATENCY} -b {{bundle}} --iterations 0", ""),
        ("throughput -b {bundle} --images {empty}", "nothing to restore in"),
        ("throughput -b {bundle} --images {text}", "--images: wanted a folder"),
        (f"{THROUGHPUT} -b {{bundle}} --jobs 0", "jobs: wanted 1 to"),
        ("quality -b {bundle} -i {empty} -t {empty}", "wanted"),
        ("quality -b {bundle} -i {nowhere} -t {clean}", "wanted"),
        ("quality -b {bundle} -i {pictures} -t {empty}", "wanted"),
        (f"{EXPERTS} --threads 0", "threads: wanted 1 to"),
        (f"{EXPERTS} --report {{empty}}", "found a folder"),
        (f"{EXPERTS} --report {{text}}/r.json", "wanted a folder, found"),
        (f"{EXPERTS} --experts 0", ""),
        (f"{KERNELS} --preset huge", "--preset: wanted one of"),
        (f"{KERNELS} --size 0x1", "--size: wanted height x width"),
        (f"{KERNELS} --report {{empty}}", "found a folder"),
        (f"{KERNELS} --report {{text}}/r.json", "wanted a folder, found"),
        ("compare {nowhere}", "found nothing there"),
        ("compare {empty}", "wanted a file"),
        ("compare {text}", "wanted JSON"),
    ],
)
def test_mistakes(
    line: str,
    words: str,
    lorair_bench: Command,
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, a line that says what is wrong, and no report."""
    monkeypatch.setattr(runner, "ProcessRunner", InProcess)
    before = sorted(places["report"].parent.rglob("*"))
    result = run(lorair_bench, places, line)
    assert result.code == 2, result.err
    assert words in result.error
    assert "bug" not in result.err
    assert "Traceback" not in result.err
    assert sorted(places["report"].parent.rglob("*")) == before, "nothing half-written"


def a_latency(**fields: Any) -> Any:
    return to_json(latency_report(configuration("x", total=[1.0] * 9), **fields))


def other(kind: str) -> Any:
    """A readable result of another kind."""
    if kind == "experts":
        return to_json(experts_report(row("gates", 2, [0.1])))
    content = {key: a_latency()[key] for key in ("schema_version", "environment")}
    rest: dict[str, dict[str, Any]] = {
        "quality": {"pictures": [], "mean": None},
        "throughput": {"backend": "x", "pictures": 1, "megapixels": 1.0, "runs": []},
        "kernels": {"preset": "tiny", "dtype": "fp16", "timed": False, "sizes": [],
                    "compiled": None},
    }  # fmt: skip
    return content | rest[kind] | {"kind": kind}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "wanted JSON"),
        ('{"kind": "latency"', "wanted JSON"),
        ("null", "found other JSON"),
        ('{"schema_version": 2}', "found other JSON"),
        (a_latency() | {"schema_version": 1}, "measure again with this version"),
        (a_latency() | {"schema_version": 9}, "upgrade lorair"),
        (a_latency() | {"configurations": 3}, "configurations, found"),
        (a_latency() | {"configurations": []}, "nothing to compare"),
        *((other(kind), f"found one of lorair-bench {kind}")
          for kind in ("experts", "quality", "throughput", "kernels")),
    ],
)  # fmt: skip
def test_compare_with_what_is_no_latency_result(
    content: Any, words: str, lorair_bench: Command, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(content if isinstance(content, str) else json.dumps(content))
    result = lorair_bench("compare", bad)
    assert result.code == 2
    assert words in result.error
    assert "bug" not in result.error


@pytest.mark.parametrize("line", [f"{c} -b {{bundle}}" for c in ON_BUNDLES])
def test_no_backend_installed(
    line: str, lorair_bench: Command, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ProcessRunner", InProcess)
    monkeypatch.setattr(backend, "is_installed", lambda package: False)
    result = run(lorair_bench, places, line)
    assert result.code == 2
    assert "found none installed; pip install 'lorair[cpu]'" in result.error


def test_no_backend_for_experts(lorair_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "is_installed", lambda package: package != "openvino")
    result = lorair_bench(*EXPERTS.split(), "--backend", "openvino")
    assert result.code == 2
    assert "pip install 'lorair[openvino]'" in result.error


STOPPED = {
    # The first run is untimed; of two rounds one is whole.
    f"{LATENCY} --iterations 2 -b {{bundle}} --backend onnxruntime": 3,
    # One merge, two untimed runs, a round of two.
    f"{EXPERTS} --rounds 2": 6,
}


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("line", STOPPED)
def test_stopped_in_the_middle(
    line: str,
    sign: signal.Signals,
    code: int,
    lorair_bench: Command,
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was measured by then is there, and marked."""
    monkeypatch.setattr(InProcess, "stop", (STOPPED[line], sign))
    monkeypatch.setattr(InProcess, "runs", 0)
    monkeypatch.setattr(runner, "ProcessRunner", InProcess)
    monkeypatch.setattr(experts, "ProcessRunner", InProcess)
    monkeypatch.setattr(experts, "SWITCHES", 1)
    monkeypatch.setattr(
        experts, "build_network", lambda *a: shutil.copytree(places["bundle"], a[-1])
    )
    result = run(lorair_bench, places, f"{line} --report {{report}}")
    assert_partial(result, code, places["report"])
    rows: Any = read_report(places["report"])
    measured = rows.rows if line.startswith("experts") else rows.configurations
    timed = [r.samples for r in measured if r.samples]
    assert timed
    assert all(len(s["total"] if isinstance(s, dict) else s) == 1 for s in timed)


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("line", "patched"),
    [
        (
            f"{THROUGHPUT} --rounds 3 --backend onnxruntime -b {{bundle}}",
            "timing.throughput._round",
        ),
        (f"{QUALITY} --backend onnxruntime -b {{bundle}}", "quality.quality.score"),
    ],
)
def test_stopped_with_pictures(
    line: str,
    patched: str,
    sign: signal.Signals,
    code: int,
    lorair_bench: Command,
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the third call: of throughput the second round, of quality the second picture."""
    from importlib import import_module

    module, _, name = patched.rpartition(".")
    home = import_module(f"lorair.benchmarks.{module}")
    function, calls = getattr(home, name), [0]

    def stops(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            signal.raise_signal(sign)
        return function(*arguments)

    monkeypatch.setattr(home, name, stops)
    for folder in ("pictures", "clean"):
        shutil.copy(places[folder] / "a.png", places[folder] / "b.png")
    result = run(lorair_bench, places, f"{line} --report {{report}}")
    assert_partial(result, code, places["report"])


def assert_partial(result: Result, code: int, report: Path) -> None:
    assert result.code == code, result.err
    assert f"not complete: {report} has what was measured by then" in result.err.replace("\n", "")
    assert not read_report(report).complete
    assert "bug" not in result.err


def test_a_report_that_cannot_be_written_in_the_end(
    lorair_bench: Command, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder became a file meanwhile: said, and the exit code is 2."""
    monkeypatch.setattr(runner, "ProcessRunner", InProcess)
    written = measuring.write_report

    def late(path: Path, report: Any) -> None:
        path.parent.write_text("in the way")
        written(path, report)

    monkeypatch.setattr(measuring, "write_report", late)
    line = f"{LATENCY} -b {{bundle}} --backend onnxruntime --report {{nowhere}}/r.json"
    result = run(lorair_bench, places, line)
    assert result.code == 2
    assert "cannot write" in result.error
