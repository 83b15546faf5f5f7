"""`lorair-run batch` on 500 pictures: the same bytes, and nothing lost or done twice."""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from noise_files import contents
from processes import LIMIT, is_alive, wait_for

pytest.importorskip("ray")
pytestmark = pytest.mark.scale


def test_the_bytes_of_infer(
    counted: Any, crops: Path, default_bundle: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    command = ("batch", crops, "-o", out, "-b", default_bundle, "--num-actors", 2)
    done = counted.run(*command, "--report", report)
    assert done.returncode == 0
    assert contents(out) == wanted
    assert Counter(counted.written) == Counter(dict.fromkeys(wanted, 1))
    assert len(counted.writers) == 2
    document = json.loads(report.read_text())
    print({key: value for key, value in document.items() if key != "pictures"})
    assert document["counts"]["restored"] == 500
    names = [Path(entry["input"]).name for entry in document["pictures"]]
    assert names == sorted(p.name for p in crops.iterdir())
    again = counted.run(*command)
    assert again.returncode == 0
    assert "500 skipped" in again.stderr
    assert len(counted.written) == 500


def test_actors_that_are_killed(
    counted: Any, crops: Path, default_bundle: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    out, kills = tmp_path / "out", 4
    command = ("batch", crops, "-o", out, "-b", default_bundle, "--num-actors", 2)
    killed = set[int]()
    with counted.start(*command) as process:
        for number in range(kills):
            wait_for(lambda least=100 * number + 20: len(counted.written) >= least)
            victim = int(counted.log.read_text().splitlines()[-1].split()[0])
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        _, err = process.communicate(timeout=LIMIT)
    print(err[-1000:])
    assert process.returncode == 0
    assert "500 restored" in err
    assert contents(out) == wanted
    assert len(killed) == kills
    # Counted a moment after it was written: a kill in that moment goes uncounted.
    assert max(Counter(counted.written).values()) == 1
    assert len(counted.written) >= 500 - kills


def test_a_driver_that_is_killed(
    counted: Any, crops: Path, default_bundle: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("batch", crops, "-o", out, "-b", default_bundle, "--num-actors", 2)
    for least in (60, 200):
        with counted.start(*command) as process:
            wait_for(lambda least=least: len(counted.written) >= least)
            process.kill()
        # Its actors end by themselves; what they still write is whole, and skipped later.
        wait_for(lambda: not any(map(is_alive, counted.writers)))
    done = counted.run(*command)
    assert done.returncode == 0
    assert contents(out) == wanted, "and no partial file is left"
    assert max(Counter(counted.written).values()) == 1
    assert len(counted.written) >= 500 - 2 * 2


def test_two_nodes(
    counted: Any, nodes: Any, crops: Path, default_bundle: Path, wanted: dict[str, bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    with nodes(counted.environment()) as address:
        done = counted.run("batch", crops, "-o", out, "-b", default_bundle,
                           "--address", address)  # fmt: skip
        assert "a cluster of 2, 2 actors" in done.stderr
    assert done.returncode == 0
    assert contents(out) == wanted
    assert Counter(counted.written) == Counter(dict.fromkeys(wanted, 1))
    assert len(counted.writers) == 2


def test_a_picture_that_kills_its_actors(
    counted: Any, crops: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = counted.run("batch", crops, "-o", out, "-b", tiny_bundle, "--num-actors", 2,
                       "--glob", "p00*.png", deadly="p003.restored.png")  # fmt: skip
    assert done.returncode == 1
    assert "9 restored, 1 failed" in done.stderr
    assert "p003.png: found a process that died, 4 times" in done.stderr
    assert len(contents(out)) == 9


def test_uris(
    counted: Any, crops: Path, default_bundle: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "in put").mkdir()
    for name in ("p000.png", "p001.png", "p002.png"):
        (tmp_path / "in put" / name).write_bytes((crops / name).read_bytes())
    out = tmp_path / "out put"
    command = ("batch", (tmp_path / "in put").as_uri(), "-o", out.as_uri(), "-b", default_bundle,
               "--num-actors", 1)  # fmt: skip
    done = counted.run(*command)
    assert done.returncode == 0
    # Only three of the pictures: the same bytes, as the first one's gates are the same.
    assert contents(out) == {name: wanted[name] for name in sorted(wanted)[:3]}
    assert "3 skipped" in counted.run(*command).stderr
