"""Everything that only a GPU can show, in ten minutes: `make gpu-check`.

    python tests/support/gpu_check.py FOLDER [--driver] [--limit SECONDS]

Each part is a process of its own, the most valuable first; one that fails, hangs or crashes
ends only itself. FOLDER gets `results.json` (the machine, every part, the reports of those that
measure), `junit.xml` (every test, every part) and `log.txt` (what the parts printed), written
again after each part. `--driver`: on the tests' driver where there is no GPU; what needs one
says so. Nothing has to be installed but what lorair and its tests import: `make gpu-wheels`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).parents[2]
_LEAST: Final = 5
"""Seconds; with less left, no part begins."""

_PYTEST: Final = (sys.executable, "-P", "-m", "pytest", "-q", "-W", "default")
SANITIZER: Final = ("compute-sanitizer", "--error-exitcode=9", "--report-api-errors=no")
_NO_GPU: Final = "it needs arithmetic on a GPU"


@dataclass(frozen=True)
class Part:
    """One process.

    command: `{junit}` and `{report}` in it are files that it may write. seconds: after which it
    is killed. lacks: why it cannot run here; None if it can. environment: besides this one's.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    lacks: Callable[[], str | None] = lambda: None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """What became of a part: passed, failed or skipped, and why; its report, if it wrote one."""

    name: str
    status: str
    why: str
    seconds: float
    command: str
    report: Any = None


def checks(
    name: str, seconds: int, *arguments: str, lacks: Callable[[], str | None] = lambda: None,
    before: tuple[str, ...] = (), interpreted: bool = False,
) -> Part:  # fmt: skip
    """Tests on the device; or interpreted, with the GPU hidden from PyTorch."""
    hidden = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment = hidden if interpreted else {"TRITON_INTERPRET": "0"}
    command = (*before, *_PYTEST, "--junitxml={junit}", *arguments)
    return Part(name, command, seconds, lacks, environment)


def program(main: str, *arguments: str) -> tuple[str, ...]:
    """A command of lorair's; its script is not there where lorair is not installed."""
    return sys.executable, "-P", "-c", f"from {main} import main; main()", *arguments


def parts(is_driver: bool) -> list[Part]:
    """All parts, the most valuable first."""

    def on_gpu() -> str | None:
        return _NO_GPU if is_driver else None

    def sanitizer() -> str | None:
        missing = None if shutil.which("compute-sanitizer") else "compute-sanitizer is not there"
        return on_gpu() or missing

    def tensorrt() -> str | None:
        names = ("tensorrt", "polygraphy", "onnx_graphsurgeon", "onnxslim")
        absent = [name for name in names if find_spec(name) is None]
        return on_gpu() or (f"not installed: {', '.join(absent)}" if absent else None)

    times = (sys.executable, str(ROOT / "tests" / "support" / "gpu_times.py"))
    on_driver = ("--driver",) if is_driver else ()
    interpreted, kernels, gpu = is_driver, "tests/kernels", "tests/runtime/gpu"
    return [
        Part("doctor", program("lorair.runtime.commands.main", "doctor"), 60),
        checks("compiled kernels", 200, f"{kernels}/test_compiled.py", interpreted=interpreted),
        checks("walk with PyTorch", 90, f"{gpu}/test_torch_walk.py", interpreted=interpreted),
        checks("memory, copies, graphs", 60, f"{gpu}/test_cuda.py", "-m", "gpu", "-k",
              "not whole_walk", lacks=on_gpu),
        checks("kernels in PyTorch", 90, f"{kernels}/triton/test_ops.py", lacks=on_gpu),
        checks("full size", 120, f"{kernels}/test_full_size.py", lacks=on_gpu),
        Part("latency", (*times, "latency", "{report}", *on_driver), 90,
             environment={"TRITON_INTERPRET": str(int(is_driver))}),
        Part("kernel times", program("lorair.benchmarks.commands.main", "kernels", "--size",
             "512x512", "--report", "{report}"), 150, environment={"TRITON_INTERPRET": "0"}),
        Part("tilings", (*times, "tilings", "{report}"), 120, on_gpu, {"TRITON_INTERPRET": "0"}),
        Part("as released", (*times, "released", "{report}", *on_driver), 60,
             environment={"TRITON_INTERPRET": "0"}),
        checks("backends", 120, f"{gpu}/test_cuda.py", "-m", "gpu", "-k", "whole_walk",
              lacks=on_gpu),
        checks("Polygraphy", 120, "tests/exporter/polygraphy", "-k", "for_a_gpu", lacks=tensorrt),
        checks("interpreter", 240, f"{kernels}/triton", interpreted=True),
        checks("sanitizer", 120, f"{kernels}/test_compiled.py", "-k", "cubin and fp16",
              lacks=sanitizer, before=SANITIZER),
    ]  # fmt: skip


def run(part: Part, folder: Path, left: float) -> tuple[Ended, list[ElementTree.Element]]:
    """Run a part; what became of it, and its test suites. Its output goes on with `log.txt`."""
    begin = time.monotonic()
    shown = " ".join(part.command)

    def ended(status: str, why: str = "", report: Any = None) -> Ended:
        return Ended(part.name, status, why, round(time.monotonic() - begin, 2), shown, report)

    if lacks := part.lacks():
        return ended("skipped", lacks), []
    if left < _LEAST:
        return ended("skipped", "no time was left"), []
    with TemporaryDirectory() as temporary, (folder / "log.txt").open("ab") as log:
        files = {name: Path(temporary, name) for name in ("junit", "report")}
        log.write(f"\n=== {part.name}\n{shown}\n".encode())
        log.flush()
        code = _wait(part, [word.format(**files) for word in part.command], log, left)
        suites = _suites(files["junit"])
        report = json.loads(files["report"].read_text()) if files["report"].exists() else None
    status, why = _judge(code, suites)
    return ended(status, why, report), suites


def _wait(part: Part, command: Sequence[str], log: Any, left: float) -> int | None:
    """The exit code; None if it had to be killed."""
    try:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            cwd=ROOT, env=os.environ | part.environment, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.write(f"{error}\n".encode())
        return 127
    try:
        return process.wait(min(part.seconds, left))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _suites(junit: Path) -> list[ElementTree.Element]:
    try:
        return list(ElementTree.parse(junit).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):  # none, or it was killed while it wrote
        return []


def _judge(code: int | None, suites: Sequence[ElementTree.Element]) -> tuple[str, str]:
    """Status and why."""
    cases = [case for suite in suites for case in suite.iter("testcase")]
    reasons = {
        kind: [found.get("message", "") for case in cases for found in case.iter(kind)]
        for kind in ("failure", "error", "skipped")
    }
    bad = reasons["failure"] + reasons["error"]
    if code is None:
        return "failed", "killed: it took too long"
    if code < 0:
        return "failed", f"it died of signal {-code}"
    if code:
        return "failed", f"{len(bad)} of {len(cases)} tests" if bad else f"exit code {code}"
    counted = f"{len(cases)} tests" if cases else ""
    if skipped := reasons["skipped"]:
        counted += f", {len(skipped)} skipped: {'; '.join(sorted(set(skipped)))}"
        return ("skipped" if len(skipped) == len(cases) else "passed"), counted
    return "passed", counted


def run_all(wanted: Sequence[Part], folder: Path, limit: float, machine: dict[str, Any]) -> bool:
    """Run the parts one after the other; whether none failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.txt").write_text("")
    ends = time.monotonic() + limit
    done: list[Ended] = []
    suites: list[ElementTree.Element] = []
    for part in wanted:
        one, found = run(part, folder, ends - time.monotonic())
        done.append(one)
        suites += found
        print(f"{one.status:8} {one.name:24} {one.seconds:6.1f} s  {one.why}", flush=True)
        _write(folder, machine, done, suites)
    counts = {s: sum(one.status == s for one in done) for s in ("passed", "failed", "skipped")}
    print(", ".join(f"{count} {status}" for status, count in counts.items()), f"- {folder}")
    return not counts["failed"]


def _write(
    folder: Path,
    machine: dict[str, Any],
    done: Sequence[Ended],
    suites: Sequence[ElementTree.Element],
) -> None:
    content = {"machine": machine, "parts": [asdict(one) for one in done]}
    (folder / "results.json").write_text(json.dumps(content, indent=1) + "\n")
    root = ElementTree.Element("testsuites")
    root.extend(suites)
    own = ElementTree.SubElement(root, "testsuite", name="parts", tests=str(len(done)))
    for one in done:
        case = ElementTree.SubElement(own, "testcase", name=one.name, time=str(one.seconds))
        if one.status != "passed":
            kind = "failure" if one.status == "failed" else "skipped"
            ElementTree.SubElement(case, kind, message=one.why)
    ElementTree.ElementTree(root).write(folder / "junit.xml", "utf-8", xml_declaration=True)


def describe() -> dict[str, Any]:
    """This machine, and every package that is installed."""
    smi = shutil.which("nvidia-smi")
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "nvidia-smi": subprocess.run([smi], capture_output=True, text=True).stdout if smi else None,
        "packages": {found.name: found.version for found in distributions()},
    }


def make_importable(folder: Path) -> None:
    """Let processes import lorair, if it is not installed: links in its packages' order."""
    if find_spec("lorair") is None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        home = folder / "lorair"
        home.mkdir()
        for name, place in project["tool"]["setuptools"]["package-dir"].items():
            if "." in name:
                (home / name.partition(".")[2]).symlink_to(ROOT / place)
        for file in (ROOT / "lorair").iterdir():
            (home / file.name).symlink_to(file)
        version = project["project"]["version"]
        about = folder / f"lorair-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lorair\nVersion: {version}")
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        sys.path.insert(0, str(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--driver", action="store_true")
    parser.add_argument("--limit", type=float, default=570)
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        make_importable(Path(temporary))
        from lorair.runtime.gpu.driver import NO_DRIVER, missing_gpu

        missing = missing_gpu()
        if missing and not (given.driver and missing == NO_DRIVER):
            print(f"cannot check a GPU: {missing}; --driver: the tests' driver", file=sys.stderr)
            return 2
        wanted = parts(is_driver=bool(missing))
        machine = {"gpu": missing or "there is one"} | describe()
        return int(not run_all(wanted, given.folder, given.limit, machine))


if __name__ == "__main__":
    sys.exit(main())
