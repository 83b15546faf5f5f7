"""SIGTERM at random moments of four commands: `make signal-check`.

    python tests/support/signal_check.py BUNDLE [--moments 100] [--seed N]

Each command ends in time and with its exit code, and leaves neither a half-written result nor
a temporary file. Prints a table, what went wrong, and ends with exit code 1 if anything did.
"""

import argparse
import getpass
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import httpx
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

LIMIT = 2.0
"""Seconds from the signal to the end."""

GRACE = 5.0
"""The same of a server, which answers what it took."""

SERVED = 3.0
"""Seconds in which a server is asked before the last moment for the signal."""

STOPPED = (128 + signal.SIGTERM, -signal.SIGTERM)
"""By the command, or by the kernel before the command has begun: one code to a shell."""

TORCH = (f"torchinductor_{getpass.getuser()}",)
"""An empty folder of a fixed name, which importing PyTorch's exporter makes."""

Files = dict[str, str]


@dataclass
class Command:
    """One of the commands, in a folder of its own.

    argv: with `{out}` for the new output place. codes: that it may end with after the signal.
    wanted: what an undisturbed run leaves, and how long it takes.
    """

    name: str
    argv: tuple[str, ...]
    codes: tuple[int, ...] = STOPPED
    limit: float = LIMIT
    wanted: Files = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Ended:
    """How a run ended: the signal's moment, seconds and CPU seconds from there, what was wrong."""

    moment: float
    code: int
    seconds: float
    cpu: float
    faults: list[str]


def contents(folder: Path) -> Files:
    """The files below it, hashed; a folder is a file without content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


def run(command: Command, moment: float | None) -> Ended:
    """Run it; SIGTERM after so many seconds, None for never."""
    with tempfile.TemporaryDirectory(prefix="signal-check-") as name:
        out, temp, log = Path(name, "out"), Path(name, "temp"), Path(name, "log")
        out.mkdir()
        temp.mkdir()
        argv = [word.format(out=out) for word in command.argv]
        start = time.monotonic()
        with log.open("wb") as err:
            process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=err, env={**os.environ, "TMPDIR": str(temp)}
            )
        asking = threading.Thread(target=ask, args=(process,))
        asking.start()
        if moment is not None:
            time.sleep(moment)
            os.kill(process.pid, signal.SIGTERM)  # not waited for: its number is still its own
        told, before = time.monotonic(), cpu_seconds(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            code = process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            process.kill()
        seconds = time.monotonic() - told
        asking.join()
        if moment is None:
            command.wanted, command.seconds = contents(out), time.monotonic() - start
        left = {name: hash for name, hash in contents(temp).items() if name not in TORCH}
        faults = judge(command, code, seconds, contents(out), left)
        if moment is None:
            faults = [fault for fault in faults if code or "seconds" not in fault]
        if faults:
            faults.append(log.read_text("utf-8", "replace").strip()[-300:])
        spent = usage.ru_utime + usage.ru_stime - before
        return Ended(moment or 0.0, code, seconds, spent, faults)


def cpu_seconds(process: int) -> float:
    """That it has taken so far; 0 if it has ended."""
    try:
        user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def judge(command: Command, code: int, seconds: float, found: Files, temp: Files) -> list[str]:
    """What was wrong."""
    faults = []
    if code == 0 and 0 not in command.codes:  # it was faster than the signal
        if found.keys() != command.wanted.keys():
            faults.append(f"exit code 0, and at the output place only {sorted(found)}")
    else:
        if code not in command.codes:
            faults.append(f"exit code {code}")
        if not is_whole(found, command.wanted):
            faults.append(f"at the output place: {sorted(found)}")
    if seconds > command.limit:
        faults.append(f"{seconds:.1f} seconds")
    if temp:
        faults.append(f"in the temporary folder: {sorted(temp)}")
    return faults


def ask(process: "subprocess.Popen[bytes]") -> None:
    """Send a server pictures for as long as it answers; read what another command prints."""
    assert process.stdout is not None
    with process.stdout, (ROOT / "examples/rain.jpg").open("rb") as picture:
        line, content = process.stdout.readline().decode(), picture.read()
        _, found, url = line.partition("lorair serves at ")
        with suppress(httpx.TransportError):
            while found:  # until it takes no more connections
                httpx.post(f"{url.split()[0]}/v1/restore", content=content, timeout=60,
                           headers={"Content-Type": "image/jpeg"})  # fmt: skip
        process.stdout.read()


def is_whole(found: Files, wanted: Files) -> bool:
    """Nothing, some of the very pictures, or all that there should be: it had just ended."""
    return found.items() <= wanted.items() or found.keys() == wanted.keys()


def commands(bundle: str, folder: Path) -> list[Command]:
    """The four, with inputs in the folder."""
    pictures, video = folder / "pictures", folder / "video.mkv"
    pictures.mkdir()
    with Image.open(ROOT / "examples/rain.jpg") as photo:
        for number in range(40):
            piece = photo.crop((number, number, number + 128, number + 96))
            piece.save(pictures / f"p{number:02}.png")
        write_video(video, np.asarray(photo.convert("RGB"))[:96, :128])
    lorair_run, lorair_export = str(BIN / "lorair-run"), str(BIN / "lorair-export")
    given = ("--bundle", bundle)
    return [
        Command("infer", (lorair_run, "infer", str(pictures), "-o", "{out}", *given)),
        Command("build", (lorair_export, "build", "-o", "{out}/bundle")),
        Command("video", (lorair_run, "video", str(video), "-o", "{out}/video.mkv", *given)),
        Command(
            "serve", (lorair_run, "serve", "--port", "0", "--grace", str(GRACE), *given),
            codes=(0, *STOPPED), limit=GRACE,
        ),
    ]  # fmt: skip


def write_video(path: Path, frame: np.ndarray) -> None:
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=25)
        stream.height, stream.width = frame.shape[:2]
        for number in range(60):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(frame, number, 1).copy())))
        made.mux(stream.encode(None))


def moments(command: Command, count: int, chance: random.Random) -> list[float]:
    """Spread over an undisturbed run."""
    if command.name == "serve":  # which does not end by itself
        until = run(command, SERVED).moment + SERVED
    else:
        first = run(command, None)
        assert not first.faults, first
        until = command.seconds
    return sorted(chance.uniform(0, until) for _ in range(count))


def check(command: Command, count: int, chance: random.Random) -> bool:
    """Print the command's row and its faults; whether there were none."""
    ended = [run(command, moment) for moment in moments(command, count, chance)]
    codes = {code: sum(one.code == code for one in ended) for code in (143, -15, 0)}
    wrong = [one for one in ended if one.faults]
    slowest, cpu = max(one.seconds for one in ended), max(one.cpu for one in ended)
    print(f"{command.name:8}{count:8}{codes[143]:8}{codes[-15]:8}{codes[0]:8}"
          f"{slowest:10.2f} s{cpu:6.2f} s{len(wrong):8}", flush=True)  # fmt: skip
    for one in wrong:
        print(f"  after {one.moment:.3f} s, code {one.code}: {'; '.join(one.faults)}")
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("--moments", type=int, default=100, help="of all commands together")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--only", help="one of the commands")
    parser.add_argument(
        "--slower", type=float, default=1.0, help="how often as long a busy machine takes"
    )
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    print("command  moments     143     -15       0     slowest     CPU   wrong")
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        all_of_them = commands(str(Path(asked.bundle).resolve()), Path(name))
        chosen = [c for c in all_of_them if asked.only in (None, c.name)]
        for command in chosen:
            command.limit *= asked.slower
        done = [check(command, asked.moments // len(all_of_them), chance) for command in chosen]
    sys.exit(not all(done))


if __name__ == "__main__":
    main()
