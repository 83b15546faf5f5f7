"""The long checks of `lorair-run serve`, against a real server: `make serve-check`.

    python tests/support/serve_check.py load|fuzz|term|wrk|slow BUNDLE [--seconds S] [--bodies N]

Each ends with a line of JSON, and with exit code 1 if a promise was broken.
"""

import argparse
import asyncio
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import slow_clients
from PIL import Image

ROOT = Path(__file__).parents[2]
PNG = {"Content-Type": "image/png"}
RUN = Path(sys.executable).with_name("lorair-run")


class Server:
    """A server in a process, a working folder and a temporary folder of its own."""

    def __init__(self, bundle: str, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.work, self.temp = Path(self._folder.name, "work"), Path(self._folder.name, "temp")
        self.work.mkdir()
        self.temp.mkdir()
        self.log = Path(self._folder.name, "log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [RUN, "serve", "--bundle", Path(bundle).resolve(), "--port", "0", *options],
                stdout=subprocess.PIPE, stderr=log, cwd=self.work, text=True,
                env={**os.environ, "TMPDIR": str(self.temp)},
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, self.log.read_text()
        self.url = found[0]

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def lines(self) -> list[dict[str, object]]:
        """Of its log; libtiff and the like write lines of their own to stderr."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def close(self) -> None:
        """Forget its folders and its log."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._folder.cleanup()

    def leftovers(self) -> list[str]:
        """Files that it left."""
        return [str(path) for folder in (self.work, self.temp) for path in folder.rglob("*")]


def pictures() -> list[bytes]:
    """Pieces of the example photographs, as PNG."""
    found = []
    for name, side in (("rain", 96), ("snow", 128), ("raindrop", 112), ("rocket", 80)):
        with Image.open(ROOT / "examples" / f"{name}.jpg") as image:
            out = io.BytesIO()
            image.crop((60, 60, 60 + side, 44 + side)).save(out, "PNG")
        found.append(out.getvalue())
    return found


def single_runs(bundle: str) -> list[str]:
    """Hashes of what `lorair-run infer` makes of each, one process a picture."""
    hashes = []
    with tempfile.TemporaryDirectory() as name:
        for index, content in enumerate(pictures()):
            source, target = Path(name, f"{index}.png"), Path(name, f"{index}.out.png")
            source.write_bytes(content)
            subprocess.run(
                [RUN, "infer", source, "-o", target, "-b", bundle], check=True, capture_output=True
            )
            hashes.append(hashlib.sha256(target.read_bytes()).hexdigest())
    return hashes


class Load:
    """Clients that send pictures as fast as they are answered, and what they were answered."""

    def __init__(self, url: str, hashes: list[str]) -> None:
        self.url, self.hashes, self.pictures = url, hashes, pictures()
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.stop = False

    async def client(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=120) as client:
            turn = number
            while not self.stop:
                turn += 1
                await self.ask(client, turn % len(self.pictures))

    async def ask(self, client: httpx.AsyncClient, index: int) -> None:
        start = time.perf_counter()
        try:
            answer = await client.post("/v1/restore", content=self.pictures[index], headers=PNG)
        except httpx.TransportError as error:
            self.counts[type(error).__name__] += 1
            await asyncio.sleep(0.1)
            return
        if answer.status_code == 200:
            self.seconds.append(time.perf_counter() - start)
            same = hashlib.sha256(answer.content).hexdigest() == self.hashes[index]
            self.counts["right" if same else "wrong"] += 1
        elif answer.status_code == 503 and int(answer.headers["retry-after"]) > 0:
            self.counts["busy"] += 1
            await asyncio.sleep(0.5)
        else:
            self.counts[str(answer.status_code)] += 1


async def watch(server: Server, load: Load, lengths: list[float], memory: list[int]) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        while not load.stop:
            text = (await client.get("/metrics")).text
            lengths.append(float(re.search(r"^lorair_queue_length (\S+)", text, re.M)[1]))  # type: ignore[index]
            memory.append(server.memory())
            await asyncio.sleep(0.5)


async def run_load(server: Server, load: Load, clients: int, seconds: float) -> tuple[list, list]:
    lengths, memory = [], []
    tasks = [asyncio.create_task(load.client(n)) for n in range(clients)]
    tasks.append(asyncio.create_task(watch(server, load, lengths, memory)))
    await asyncio.sleep(seconds)
    load.stop = True
    await asyncio.gather(*tasks)
    return lengths, memory


def check_load(bundle: str, seconds: float) -> bool:
    queue = 32
    server = Server(bundle, "--queue", str(queue))
    load = Load(server.url, single_runs(bundle))
    lengths, memory = asyncio.run(run_load(server, load, 64, seconds))
    code = server.end()
    half = memory[len(memory) // 2 :]
    grown = growth(half)
    times = sorted(load.seconds)
    report = {
        "clients": 64, "seconds": seconds, **load.counts, "exit_code": code,
        "a_second": round(len(times) / seconds, 1),
        "p50_s": round(times[len(times) // 2], 2), "p99_s": round(times[len(times) * 99 // 100], 2),
        "queue_limit": queue, "queue_longest": max(lengths),
        "memory_mb": [round(m / 1e6) for m in (memory[0], half[0], half[-1], max(memory))],
        "second_half_growth_percent": round(100 * grown, 1),
        "left": server.leftovers(),
    }  # fmt: skip
    print(json.dumps(report))
    fine = set(load.counts) <= {"right", "busy"} and load.counts["right"] > 0
    return fine and max(lengths) <= queue and grown < 0.03 and not code + len(report["left"])


def growth(memory: list[int]) -> float:
    """From the first third to the last, by their medians."""
    part = len(memory) // 3
    first, last = sorted(memory[:part])[part // 2], sorted(memory[-part:])[part // 2]
    return last / first - 1


def check_wrk(bundle: str, seconds: float) -> bool:
    server = Server(bundle)
    memory = []

    def watch() -> None:
        memory.append(server.memory())
        time.sleep(0.5)

    counts = slow_clients.wrk(server.url, pictures()[3], seconds, watch)
    code, half = server.end(), memory[len(memory) // 2 :]
    report = {
        "connections": 64, "seconds": seconds, **counts, "exit_code": code,
        "memory_mb": [round(m / 1e6) for m in (memory[0], half[0], half[-1], max(memory))],
        "second_half_growth_percent": round(100 * growth(half), 1), "left": server.leftovers(),
    }  # fmt: skip
    print(json.dumps(report))
    fine = counts["right"] > 0 and not counts["other"] + counts["errors"]
    return fine and growth(half) < 0.03 and not code + len(report["left"])


async def ask_beside(slow: slow_clients.Slow, connections: int, load: Load, seconds: float) -> None:
    """One normal client, ten times a second at most, beside these."""
    attack = asyncio.create_task(slow.run(connections))
    async with httpx.AsyncClient(base_url=load.url, timeout=120) as client:
        work = True
        while work:  # which the pictures are whose answers they will not take
            await asyncio.sleep(5)
            text = (await client.get("/metrics")).text
            work = not re.search(r"^lorair_in_flight 0", text, re.M)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await load.ask(client, sum(load.counts.values()) % len(load.pictures))
            await asyncio.sleep(0.1)
    attack.cancel()
    await asyncio.wait([attack])


def check_slow(bundle: str, seconds: float) -> bool:
    """All from the address of the normal client."""
    server, hashes, report, fine = Server(bundle), single_runs(bundle), {}, True
    with Image.open(ROOT / "examples" / "rain.jpg") as image:
        out = io.BytesIO()
        image.save(out, "PNG")
    kinds = {
        "heads": (slow_clients.heads(server.url), 600),
        "bodies": (slow_clients.bodies(server.url), 400),
        "reads": (slow_clients.reads(server.url, out.getvalue()), 120),
    }
    before = server.memory()
    for name, (slow, connections) in kinds.items():
        load = Load(server.url, hashes)
        asyncio.run(ask_beside(slow, connections, load, seconds))
        times, asked = sorted(load.seconds), sum(load.counts.values())
        report[name] = {
            "connections": connections, "opened": slow.opened, "seconds": seconds, "asked": asked,
            **load.counts, "p50_s": round(times[len(times) // 2], 2) if times else None,
            "memory_mb": [round(before / 1e6), round(server.memory() / 1e6)],
        }  # fmt: skip
        fine = fine and load.counts["right"] >= 0.95 * asked > 0
    code = server.end()
    print(json.dumps({**report, "exit_code": code, "left": server.leftovers()}))
    return fine and not code + len(server.leftovers())


async def terminate(server: Server, load: Load) -> None:
    tasks = [asyncio.create_task(load.client(n)) for n in range(32)]
    await asyncio.sleep(4)
    server.process.send_signal(signal.SIGTERM)
    while server.process.poll() is None:
        await asyncio.sleep(0.05)
    load.stop = True
    await asyncio.gather(*tasks)


def check_term(bundle: str) -> bool:
    server = Server(bundle)
    load = Load(server.url, single_runs(bundle))
    asyncio.run(terminate(server, load))
    code = server.end()
    answered = Counter(str(line["status"]) for line in server.lines() if "status" in line)
    after = next(line for line in server.lines() if line["message"] == "shutting down")["time"]
    late = sum(1 for line in server.lines() if line.get("status") == 200 and line["time"] > after)
    report = {"clients": 32, **load.counts, "server_200": answered["200"], "exit_code": code,
              "answered_after_sigterm": late, "left": server.leftovers()}  # fmt: skip
    print(json.dumps(report))
    refused = {"right", "busy", "ConnectError", "ReadError", "RemoteProtocolError", "WriteError"}
    return (set(load.counts) <= refused and answered["200"] == load.counts["right"]
            and late > 0 and not code + len(report["left"]))  # fmt: skip


def seeds() -> list[bytes]:
    """One small picture in every format that is read, and what else people send."""
    with Image.open(ROOT / "examples" / "rain.jpg") as image:
        small = image.crop((50, 50, 82, 74))
    found = []
    for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "GIF", "PPM"):
        out = io.BytesIO()
        small.save(out, name)
        found.append(out.getvalue())
    return [*found, b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>", b"\x00"]


def mutated(rng: random.Random, seed: bytes) -> bytes:
    """Bytes changed, cut, doubled, or a length made huge; more often near the start."""
    body = bytearray(seed)
    for _ in range(rng.choice((0, 1, 1, 2, 4, 12))):
        if not body:
            break
        place = min(int(rng.expovariate(4 / len(body))), len(body) - 1)
        kind = rng.randrange(5)
        if kind == 0:
            body[place] = rng.randrange(256)
        elif kind == 1:
            del body[place:]
        elif kind == 2:
            body[place:place] = body[place : place + rng.randrange(1, 64)]
        elif kind == 3:
            body[place : place + 4] = rng.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"))
        else:
            del body[place : place + rng.randrange(1, 16)]
    return bytes(body)


async def fuzz(url: str, bodies: int) -> Counter[str]:
    rng, counts, todo = random.Random(9), Counter(), iter(range(bodies))
    known = seeds()
    kinds = ["image/png", "image/jpeg", "image/tiff", "application/octet-stream", "text/plain"]
    paths = ["/v1/restore", "/v1/restore?expert=rain", "/v1/restore?format=webp", "/v1/route",
             "/v1/restore?tile=128", "/v1/restore?gates=rain=1",
             "/v1/restore?expert=%00"]  # fmt: skip
    names = ["../../../tmp/escaped", "/etc/escaped", "a\\..\\b", "x" * 3000, "\x00", "p.png"]

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            for _ in todo:
                body = mutated(rng, rng.choice(known))
                path = rng.choices(paths, (5, 1, 1, 4, 1, 1, 1))[0]
                if rng.random() < 0.2:
                    files = {"picture": (rng.choice(names), body, rng.choice(kinds))}
                    answer = await http.post(path, files=files)
                else:
                    kind = {"Content-Type": rng.choices(kinds, (4, 4, 1, 4, 1))[0]}
                    answer = await http.post(path, content=body, headers=kind)
                counts[str(answer.status_code)] += 1

    await asyncio.gather(*(client() for _ in range(8)))
    return counts


def check_fuzz(bundle: str, bodies: int) -> bool:
    server = Server(bundle, "--max-pixels", "100000", "--max-bytes", "100000")
    start, before = time.perf_counter(), server.memory()
    counts = asyncio.run(fuzz(server.url, bodies))
    seconds, after, code = time.perf_counter() - start, server.memory(), server.end()
    other = [line for line in server.lines() if line["message"] not in ("request", "shutting down")]
    report = {"bodies": bodies, "seconds": round(seconds), **sorted_counts(counts),
              "memory_mb": [round(before / 1e6), round(after / 1e6)], "exit_code": code,
              "left": server.leftovers(), "errors_in_log": len(other)}  # fmt: skip
    print(json.dumps(report), *other[:3], sep="\n")
    allowed = {"200", "400", "413", "415", "422", "503"}
    return set(counts) <= allowed and not code + len(report["left"]) + len(other)


def sorted_counts(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("check", choices=("load", "fuzz", "term", "wrk", "slow"))
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, help="60; of wrk 30, of each slow kind 20")
    parser.add_argument("--bodies", type=int, default=10_000)
    asked = parser.parse_args()
    if asked.check == "load":
        done = check_load(asked.bundle, asked.seconds or 60)
    elif asked.check == "wrk":
        done = check_wrk(asked.bundle, asked.seconds or 30)
    elif asked.check == "slow":
        done = check_slow(asked.bundle, asked.seconds or 20)
    elif asked.check == "term":
        done = check_term(asked.bundle)
    else:
        done = check_fuzz(asked.bundle, asked.bodies)
    sys.exit(not done)


if __name__ == "__main__":
    main()
