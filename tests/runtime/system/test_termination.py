"""SIGTERM in commands of processes of their own, which send it to themselves at a known place."""

import signal
import subprocess
import sys

import pytest
from command import Command

HEAD = """
import os, signal, sys, threading
from lorair.runtime.system import console, termination

def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)

class Dropped:
    "Python drops what is raised in __del__."
    def __del__(self):
        sigterm()

def command():
{body}
    print("to the end")

app = console.make_app("a command")
app.command("command")(command)
sys.argv[1:] = ["command"]
console.run(app)
"""

LOST = "Dropped()"
TO_THE_END = "to the end\n"


def run(*lines: str) -> "subprocess.CompletedProcess[str]":
    code = HEAD.format(body="\n".join(f"    {line}" for line in lines))
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("lines", "out"),
    [
        (["sigterm()"], ""),
        # As compiled libraries do with what happens during their import.
        (["try: sigterm()", "except BaseException as error: raise ImportError from error"], ""),
        ([LOST, "with console.step('a step'): print('in it')"], ""),
        ([LOST, "with console.bar('a bar') as report: report(0.5, 'half')"], ""),
        ([LOST, "with console.counter(9) as advance: advance()"], ""),
        ([LOST], TO_THE_END),
        # Only once: cleaning up goes on.
        (["try: sigterm()", "finally: sigterm(); print('cleaned up', flush=True)"], "cleaned up\n"),
    ],
)
def test_sigterm_is_noticed(lines: list[str], out: str) -> None:
    done = run(*lines)
    assert (done.returncode, done.stdout) == (143, out), done.stderr
    assert "error:" not in done.stderr


def test_a_server_ends_as_it_likes() -> None:
    done = run("try: sigterm()", "except SystemExit: termination.answer()")
    assert (done.returncode, done.stdout) == (0, TO_THE_END)


def test_after_the_grace_the_kernel_ends_it() -> None:
    done = run("termination.GRACE = 1", "try: sigterm()", "finally: threading.Event().wait()")
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, "")


def test_the_handler_is_put_back(lorair_run: Command) -> None:
    before = signal.getsignal(signal.SIGTERM)
    lorair_run("doctor", "--json")
    assert signal.getsignal(signal.SIGTERM) is before
