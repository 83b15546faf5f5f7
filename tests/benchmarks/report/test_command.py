"""The command: what it writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from command import Command
from PIL import Image
from report_files import HOSTILE, Page, kernels, latency, throughput, write
from results import configuration, latency_report

from lorair.benchmarks.schema.results_file import to_json

ROOT = Path(__file__).parents[3]
INT8 = ROOT / "benchmarks" / "results" / "latency-setting1-int8-cpu2.json"


def test_page_plots_and_tables(lorair_bench: Command, tmp_path: Path) -> None:
    made = write(tmp_path, "made", latency())
    page, tables = tmp_path / "out" / "a.html", tmp_path / "tables.md"
    done = lorair_bench("report", made, "-o", page, "--plots", tmp_path / "plots",
                        "--markdown", tables, "--title", "A & B")  # fmt: skip
    assert done.code == 0, done.err
    found = Page(page.read_text("utf-8"))
    assert "A & B" in found.text
    pictures = sorted((tmp_path / "plots").iterdir())
    figures = sum(tag == "svg" for tag, _ in found.tags)
    assert len(pictures) == 2 * figures > 0
    for path in pictures:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width == 1080
        else:
            assert ElementTree.fromstring(path.read_bytes()).tag.endswith("}svg")
    assert "<script>" not in tables.read_text("utf-8").replace("\\<", "")


def test_markdown_is_what_the_docs_have(lorair_bench: Command, tmp_path: Path) -> None:
    done = lorair_bench("report", INT8, "-o", tmp_path / "a.html", "--markdown", "-")
    docs = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    for name in ("router", "restorer", "file to file", "peak memory, GB"):
        lines = [line for line in done.out.splitlines() if line.startswith(f"| {name} |")]
        assert len(lines) == 2
        assert all(line in docs for line in lines)
    assert "| --- | ---: | ---: | ---: | ---: |" in done.out


def test_a_named_baseline(lorair_bench: Command, tmp_path: Path) -> None:
    found = [configuration(n, total=[t] * 3) for n, t in (("quick", 2.0), ("slow", 6.5))]
    page, made = tmp_path / "a.html", write(tmp_path, "made", to_json(latency_report(*found)))
    done = lorair_bench("report", made, "-o", page, "--markdown", "-", "--baseline", "quick")
    assert "| times as fast | 1.00 | 0.308 |" in done.out
    done = lorair_bench("report", made, "-o", tmp_path / "b.html", "--baseline", "abacus")
    assert done.code == 2
    assert "wanted one of " in done.error
    assert not (tmp_path / "b.html").exists()


def test_the_same_page_again(lorair_bench: Command, tmp_path: Path) -> None:
    made = write(tmp_path, "made", throughput())
    for name in ("a.html", "b.html"):
        assert lorair_bench("report", made, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_files_of_one_name(lorair_bench: Command, tmp_path: Path) -> None:
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "run", throughput())
    paths = [tmp_path / "before" / "run.json", tmp_path / "after" / "run.json"]
    assert lorair_bench("report", *paths, "-o", tmp_path / "a.html").code == 0
    page = Page((tmp_path / "a.html").read_text("utf-8"))
    assert all(str(path) in page.text for path in paths)


def test_nothing_measured_yet(lorair_bench: Command, tmp_path: Path) -> None:
    """What interrupted runs leave: no configurations, rounds, sizes or pictures."""
    empty: list[dict[str, Any]] = [
        latency() | {"configurations": []},
        throughput() | {"runs": []},
        kernels(timed=False) | {"sizes": [], "compiled": None},
        throughput() | {"kind": "quality", "pictures": [], "mean": None},
    ]
    bare = latency()
    for c in bare["configurations"]:
        c |= {"samples": {}, "summary": {}, "cold": {}, "cold_summary": {}, "warmup": 0}
    paths = [
        write(tmp_path, f"r{i}", content | {"complete": False})
        for i, content in enumerate([*empty, bare])
    ]
    done = lorair_bench("report", *paths, "-o", tmp_path / "a.html", "--markdown", "-")
    assert done.code == 0, done.err
    assert "Incomplete: 5 of 5" in Page((tmp_path / "a.html").read_text("utf-8")).text


def _broken_layers() -> Any:
    content = kernels(timed=False)
    del content["sizes"][0]["layers"][0]["bytes"]
    return content


def _foreign_preview() -> Any:
    scores = dict.fromkeys(("psnr", "ssim", "psnr_y", "ssim_y"), 1.0)
    preview = dict.fromkeys(("degraded", "restored", "truth"), HOSTILE)
    picture = {"name": "x", "width": 1, "height": 1, "route": "r", "before": scores,
               "after": scores, "preview": preview}  # fmt: skip
    return throughput() | {"kind": "quality", "pictures": [picture], "mean": None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "found nothing there"),
        (_broken_layers(), "at sizes.0.layers.0.bytes, found Field required"),
        (_foreign_preview(), "at pictures.0.preview.degraded"),
    ],
)
def test_bad_results(content: Any, words: str, lorair_bench: Command, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        write(tmp_path, "bad", content)
    good = write(tmp_path, "good", throughput())
    done = lorair_bench("report", good, path, "-o", tmp_path / "a.html", "--plots", tmp_path / "p")
    assert done.code == 2
    assert words in done.error
    assert str(path) in done.error
    assert {p.name for p in tmp_path.iterdir()} <= {"good.json", "bad.json"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "{run}"], "found an input or output of this run"),
        (["-o", "{folder}"], "wanted a file, found a folder"),
        (["-o", "{folder}/a.html", "--markdown", "{run}"], "found an input or output of this run"),
        (["-o", "{folder}/a", "--markdown", "{folder}/a"], "found an input or output of this run"),
        (["-o", "{folder}/a.html", "--plots", "{run}"], "wanted a folder, found"),
        (["-o", "{run}/a.html"], "wanted a folder, found"),
        (["{run}", "-o", "{folder}/a.html"], "wanted each result file once"),
    ],
)
def test_bad_places(
    arguments: list[str], words: str, lorair_bench: Command, tmp_path: Path
) -> None:
    run = write(tmp_path, "run", throughput())
    folder = tmp_path / "folder"
    folder.mkdir()
    filled = [a.format(run=run, folder=folder) for a in arguments]
    done = lorair_bench("report", run, *filled)
    assert done.code == 2
    assert words in done.error
    assert not list(folder.iterdir())
    assert json.loads(run.read_text()) == throughput()


def test_no_result_at_all(lorair_bench: Command) -> None:
    done = lorair_bench("report")
    assert done.code == 2
    assert "RUN.json" in done.err
