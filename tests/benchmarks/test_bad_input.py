"""Every command of lorair-bench on input that is wrong, and stopped in the middle."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command, Result
from in_process import InProcess
from PIL import Image
from results import experts_report, latency_report, row

from lorair.benchmarks.commands import measuring
from lorair.benchmarks.experts import measure as experts
from lorair.benchmarks.schema.results_file import read_report, write_report
from lorair.benchmarks.timing import runner
from lorair.runtime.backends import backend
from lorair.runtime.system.extras import install_command


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
EVERY = (*(f"{line} -b {{bundle}}" for line in ON_BUNDLES), EXPERTS, KERNELS)
OURS = "an input or output of this run"

MISTAKES = {
    **{f"{line} -b {{nowhere}}": "no bundle at" for line in ON_BUNDLES},
    **{f"{line} -b {{empty}}": "wanted manifest.json" for line in ON_BUNDLES},
    **{f"{line} -b {{damaged}}": "manifest" for line in ON_BUNDLES},
    **{f"{line} -b {{bundle}} --backend abacus": "no backend 'abacus'" for line in ON_BUNDLES},
    **{f"{line} -b {{bundle}} --threads 0": "threads: wanted 1 to" for line in ON_BUNDLES},
    **{f"{line} --report {{empty}}": "wanted a file, found a folder" for line in EVERY},
    **{f"{line} --report {{text}}/r.json": "wanted a folder, found" for line in EVERY},
    **{f"{line} --report {{bundle}}/manifest.json": OURS for line in EVERY[:3]},
    f"{THROUGHPUT} -b {{bundle}} --report {{pictures}}/a.png": OURS,
    f"{QUALITY} -b {{bundle}} --report {{pictures}}/a.png": OURS,
    f"{LATENCY} -b {{bundle}} --batch 0": "",
    f"{LATENCY} -b {{bundle}} --iterations 0": "",
    "latency -b {bundle} --size 3": "--size: wanted height x width, found 3",
    "latency -b {bundle} --size 0x5": "wanted height x width",
    "latency -b {bundle} --size ²x3": "wanted height x width",
    "latency -b {bundle} --size 20000x15000": "at most 200 megapixels",
    "latency -b {bundle} --backend onnxruntime --backend onnxruntime": "onnxruntime twice",
    "latency -b {bundle} -b {bundle}": "bundle twice",
    "latency -b {bundle} --min-psnr 40": "wanted --budget-ms beside it",
    "latency -b {bundle} --backend torch-eager --ir-weights x.pth": "wanted both weights files",
    "throughput -b {bundle} --images {empty}": "nothing to restore in",
    "throughput -b {bundle} --images {text}": "--images: wanted a folder",
    "throughput -b {bundle} --images {nowhere}": "--images: wanted a folder",
    f"{THROUGHPUT} -b {{bundle}} --jobs 0": "jobs: wanted 1 to",
    "tiles -b {bundle} --images {pictures} --tile 256": "a side below a picture's, found 256",
    "quality -b {bundle}": "wanted --input and --target, or --data",
    "quality -b {bundle} -i x": "wanted --input and --target, or --data",
    "quality -b {bundle} -i {empty} -t {empty}": "wanted a folder with pictures",
    "quality -b {bundle} -i {nowhere} -t {clean}": "wanted a folder with pictures",
    "quality -b {bundle} -i {pictures} -t {empty}": "wanted a folder with pictures",
    "quality -b {bundle} --data x -i y": "no --input and --target beside it",
    "quality -b {bundle} --data nowhere": "no folder nowhere",
    "quality -b {bundle} --data {empty}": "synthetic/ and gt/",
    "quality -b {bundle} --data x --dataset fog": "wanted snow or rainfog or raindrop, found fog",
    "quality -b {bundle} --data a --data b --dataset snow": "wanted one --data beside it",
    "quality -b {bundle} --data a/x --data b/x": "folders of different names",
    f"{QUALITY} -b {{bundle}} --expert fog": "--expert",
    f"{EXPERTS} --threads 0": "threads: wanted 1 to",
    f"{EXPERTS} --experts 0": "",
    "experts --experts 2 --top-k 4": "--top-k: wanted at most the number of experts",
    "experts --backend tensorrt": "wanted one of onnxruntime, openvino, openvino-bf16",
    "experts --backend abacus": "cannot time the forms of a mixture on 'abacus'",
    "experts --preset huge": "--preset: wanted one of",
    "experts --size 0x9": "--size: wanted height x width",
    "kernels --preset huge": "--preset: wanted one of",
    "kernels --size 512": "--size: wanted height x width",
    "commands ''": "wanted a program",
    "commands 'lorair-does-not-exist --help'": "wanted a program",
    "commands true --rounds 1 --size-of {nowhere}": "--size-of",
    "compare {nowhere}": "found nothing there",
    "compare {empty}": "wanted a file",
    "compare {text}": "wanted JSON",
}


def run(command: Command, places: dict[str, Path], text: str) -> Result:
    return command(*(word.format(**places) for word in shlex.split(text)))


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(
    line: str, lorair_bench: Command, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, a line that says what is wrong, and no report."""
    monkeypatch.setattr(runner, "ProcessRunner", InProcess)
    before = sorted(places["report"].parent.rglob("*"))
    result = run(lorair_bench, places, line)
    assert result.code == 2, result.err
    assert MISTAKES[line] in result.error
    assert "bug" not in result.err
    assert "Traceback" not in result.err
    assert sorted(places["report"].parent.rglob("*")) == before, "nothing half-written"


@pytest.mark.parametrize("made", [experts_report(row("gates", 2, [0.1])), latency_report()])
def test_compare_with_what_it_cannot(made: Any, lorair_bench: Command, tmp_path: Path) -> None:
    """A result of another kind, and one in which there is nothing."""
    write_report(tmp_path / "run.json", made)
    result = lorair_bench("compare", tmp_path / "run.json")
    assert result.code == 2
    words = {"experts": "found one of lorair-bench experts", "latency": "nothing to compare"}
    assert words[made.kind] in result.error


@pytest.mark.parametrize("line", [f"{c} -b {{bundle}}" for c in ON_BUNDLES])
def test_no_backend_installed(
    line: str, lorair_bench: Command, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ProcessRunner", InProcess)
    monkeypatch.setattr(backend, "is_installed", lambda package: False)
    result = run(lorair_bench, places, line)
    assert result.code == 2
    assert f"found none installed; {install_command('cpu')}" in result.error


def test_no_backend_for_experts(lorair_bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "is_installed", lambda package: package != "openvino")
    result = lorair_bench(*EXPERTS.split(), "--backend", "openvino")
    assert result.code == 2
    assert install_command("openvino") in result.error


# What Ctrl-C and SIGTERM raise.
STOPS = pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)]
)

STOPPED = {
    # The first run is untimed; of two rounds one is whole.
    f"{LATENCY} --iterations 2 -b {{bundle}} --backend onnxruntime": 3,
    # One merge, two untimed runs, a round of two.
    f"{EXPERTS} --rounds 2": 6,
}


@STOPS
@pytest.mark.parametrize("line", STOPPED)
def test_stopped_in_the_middle(
    line: str,
    stop: BaseException,
    code: int,
    lorair_bench: Command,
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was measured by then is there, and marked."""
    monkeypatch.setattr(InProcess, "stop", (STOPPED[line], stop))
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


@STOPS
@pytest.mark.parametrize(
    ("line", "patched"),
    [(f"{THROUGHPUT} --rounds 3", "timing.throughput._round"), (QUALITY, "quality.quality.score")],
)
def test_stopped_with_pictures(
    line: str,
    patched: str,
    stop: BaseException,
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
            raise stop
        return function(*arguments)

    monkeypatch.setattr(home, name, stops)
    for folder in ("pictures", "clean"):
        shutil.copy(places[folder] / "a.png", places[folder] / "b.png")
    options = "--backend onnxruntime -b {bundle} --report {report}"
    result = run(lorair_bench, places, f"{line} {options}")
    assert_partial(result, code, places["report"])
    found: Any = read_report(places["report"])
    if line == QUALITY:
        assert [p.name for p in found.pictures] == ["a"]
        assert found.mean.after == found.pictures[0].after
    else:
        assert [len(r.seconds) for r in found.runs] == [1]


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
