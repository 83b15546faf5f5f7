import json
import shlex
import subprocess
import sys
from pathlib import Path

from command import Command
from processes import LIMIT, console_script, wait_for

from lorair.benchmarks.schema.costs import CommandsReport
from lorair.benchmarks.schema.results_file import read_report


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_commands_take_turns(lorair_bench: Command, tmp_path: Path) -> None:
    log, report = tmp_path / "log", tmp_path / "run.json"
    lines = [python(f"open({str(log)!r}, 'a').write('{name}')") for name in "ab"]
    result = lorair_bench("commands", *lines, "--rounds", 3, "--size-of", log, "--report", report)
    assert result.code == 0
    assert log.read_text() == "ababab"
    document = read_report(report)
    assert isinstance(document, CommandsReport)
    assert document.complete
    assert [shlex.join(run.command) for run in document.runs] == lines
    assert all(len(run.seconds) == len(run.cpu_seconds) == 3 for run in document.runs)
    assert all(run.p50 == sorted(run.seconds)[1] for run in document.runs)
    assert document.sizes == {str(log): 6}


def test_time_memory_and_output() -> None:
    """In a process of its own: this one's peak would hide the commands'."""
    hold = "import time; held = bytearray(400 << 20); print('held', len(held)); time.sleep(0.5)"
    line = [*console_script("benchmarks"), "commands", python(hold), python("pass")]
    made = subprocess.run([*line, "--rounds", "1", "--json"], stdout=subprocess.PIPE, check=True)
    held, nothing = json.loads(made.stdout)["runs"]
    assert held["seconds"][0] >= 0.5
    assert held["peak_memory"] > 400 << 20
    assert held["output"] == f"held {400 << 20}\n"
    assert nothing["peak_memory"] is None


def test_a_failing_command_keeps_what_was_measured(lorair_bench: Command, tmp_path: Path) -> None:
    seen, report = tmp_path / "seen", tmp_path / "run.json"
    once = (
        f"import pathlib, sys; sys.exit('no more') if pathlib.Path({str(seen)!r}).exists() else 0"
    )
    touch = f"import pathlib; pathlib.Path({str(seen)!r}).touch()"
    result = lorair_bench("commands", python(once), python(touch), "--report", report)
    assert result.code == 1
    assert "found 1: no more" in result.error
    document = read_report(report)
    assert isinstance(document, CommandsReport)
    assert [len(run.seconds) for run in document.runs] == [1, 1]
    assert not document.complete


def test_interrupted_it_ends_what_it_started(tmp_path: Path) -> None:
    """The shell and its child, which gets the chance to clean up."""
    began, ended = tmp_path / "began", tmp_path / "ended"
    child = python(
        "import pathlib, signal, sys, time\n"
        f"signal.signal(15, lambda *_: sys.exit(pathlib.Path({str(ended)!r}).touch()))\n"
        f"pathlib.Path({str(began)!r}).touch(); time.sleep(60)"
    )
    line = shlex.join(["sh", "-c", f"{child}; true"])
    with subprocess.Popen([*console_script("benchmarks"), "commands", line]) as process:
        wait_for(lambda: began.exists() or process.poll() is not None)
        process.terminate()
        assert process.wait(LIMIT) == 143
    wait_for(ended.exists)
