"""The page: nothing outside of it, nothing hostile in it, and the files' numbers."""

import json
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from report_files import HOSTILE, Page, write, write_all
from results import configuration, latency_report

from lorair.benchmarks.report import draw
from lorair.benchmarks.report.build import make, make_sections, read_sources
from lorair.benchmarks.report.content import Plot, Section
from lorair.benchmarks.schema.results_file import to_json
from lorair.benchmarks.tables.cells import rounded

ROOT = Path(__file__).parents[3]
COMMITTED = [
    ROOT / "benchmarks" / "results" / f"{name}.json"
    for name in (
        "experts-tiny-onnxruntime-cpu2", "kernels-setting1-floors", "latency-setting1-int8-cpu2",
        "quality-default", "throughput-default-openvino-cpu2",
    )
]  # fmt: skip
"""One of a kind: drawing all takes a minute."""


@pytest.fixture(scope="module")
def made(page_file: Path) -> Page:
    return Page(page_file.read_text("utf-8"))


@pytest.fixture(scope="module")
def committed() -> Page:
    return Page(make(read_sources(COMMITTED), "Committed", None, with_plots=False).html)


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Section]]:
    """Of every kind."""
    sources = read_sources([*write_all(tmp_path_factory.mktemp("made")), *COMMITTED[:3]])
    with draw.style():
        yield make_sections(sources, None)


def plots(sections: list[Section]) -> list[Plot]:
    return [plot for section in sections for part in section.walk() for plot in part.plots]


def rows(page: Page) -> list[list[tuple[str, str | None]]]:
    return [row for table in page.tables for row in table]


@pytest.mark.parametrize("name", ["made", "committed"])
def test_nothing_leaves_the_page(name: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(name)
    for attribute in ("src", "href", "action", "poster", "data", "srcset"):
        for value in page.attributes(attribute):
            assert value.startswith(("data:", "#")), value
    styles = " ".join(page.attributes("style")) + page.text
    assert all(ref.startswith("#") for ref in re.findall(r"url\(([^)]*)\)", styles))
    assert "@import" not in styles
    assert not any(name.startswith("on") for _, found in page.tags for name in found)


@pytest.mark.parametrize("name", ["made", "committed"])
def test_anchors_lead_somewhere_and_are_unique(name: str, request: pytest.FixtureRequest) -> None:
    page: Page = request.getfixturevalue(name)
    ids = page.attributes("id")
    assert len(set(ids)) == len(ids)
    references = [v[1:] for v in page.attributes("href") if v.startswith("#")]
    clips = [m for v in page.attributes("clip-path") for m in re.findall(r"url\(#(.+?)\)", v)]
    assert set(references + clips) <= set(ids)
    assert clips


def test_hostile_labels_are_text(made: Page) -> None:
    assert [tag for tag, _ in made.tags].count("script") == 1
    assert all(found["src"].startswith("data:") for tag, found in made.tags if tag == "img")
    assert HOSTILE in made.text


def test_every_plot_has_a_text_alternative_a_table_and_colours_for_both_themes(made: Page) -> None:
    figures = [found for tag, found in made.tags if tag == "svg"]
    assert len(figures) > 10
    assert all(f["role"] == "img" and len(f["aria-label"]) > 20 for f in figures)
    assert sum(f.get("class") == "plot" for _, f in made.tags) == len(figures)
    inside = [found for tag, found in made.tags if tag in {"path", "text", "use", "rect"}]
    styles = " ".join(found.get("style", "") for found in inside)
    assert "var(--blue)" in styles
    assert not re.findall(r"#[0-9a-f]{6}", styles)
    assert not {"fill", "stroke"} & {name for found in inside for name in found}


def test_an_incomplete_run_is_marked(made: Page, committed: Page) -> None:
    assert "Incomplete: 1 of 8 runs" in made.text
    assert made.text.count("This run was interrupted or failed") == 1
    assert "nterrupted" not in committed.text


def test_committed_latency_numbers_are_the_files_numbers(committed: Page) -> None:
    found = {value for row in rows(committed) for _, value in row if value is not None}
    for path in COMMITTED:
        content = json.loads(path.read_text())
        for c in content.get("configurations", []):
            wanted = [s[k] for s in c["summary"].values() for k in ("p50", "p90", "p99", "min")]
            wanted += c["samples"]["total"]
            wanted += [v for v in c["memory"].values() if v is not None]
            assert {str(float(value)) for value in wanted} <= found


def test_shown_numbers_are_the_files_rounded(made: Page) -> None:
    comparison = next(t for t in made.tables if ("times as fast", None) in t[0])
    names = [text for text, _ in comparison[0]]
    assert [row[names.index("p50")] for row in comparison[1:]] == [
        ("500", "0.5"), ("1625", "1.625"), ("500", "0.5"), ("1625", "1.625"),
    ]  # fmt: skip
    assert [row[names.index("times as fast")][0] for row in comparison[1:]] == ["3.25", "1.00"] * 2
    assert {row[names.index("peak GB")][0] for row in comparison[1:]} == {"1.50"}
    assert {row[names.index("outliers")][0] for row in comparison[1:]} == {"1 of 8"}
    assert {row[names.index("GPU, GB")] for row in comparison[1:]} == {("0.700", "700000000.0")}


def test_throughput_against_counting_by_hand(made: Page) -> None:
    four = next(row for row in rows(made) if row[0][0] == "4 at once" and len(row) == 7)
    # 18 pictures of 9 megapixels in a median of 4.5 / 4 s, against 4.5 s one at a time.
    assert [text for text, _ in four[1:]] == [
        "16.0", "14.4 to 18.0", "8.00", "4.00", "6.00", "restoring (86%)",
    ]  # fmt: skip


def test_quality_means_by_class_and_protocol(made: Page, committed: Page) -> None:
    lines = [row for row in rows(made) if row[0][0] == "snow" and len(row) == 8]
    assert [[text for text, _ in row][1:] for row in lines] == [
        ["3", "RGB", "21.00 → 28.00", "0.812 → 0.812", "+7.00", "+6.00", "–"],
        ["3", "Y", "22.00 → 29.00", "0.875 → 0.875", "+7.00", "+6.00", "–"],
    ], "old files have no score by the authors' script"
    authors = next(row for row in rows(committed) if row[2:3] == [("authors’ script", None)])
    assert (authors[0][0], authors[-1][0]) == ("snow", "32.28 / 0.930")
    images = [found["alt"] for tag, found in made.tags if tag == "img"]
    assert images == [f"snow 0, {what}" for what in ("restored", "original", "degraded")]


def test_kernels_say_whether_they_were_timed(made: Page) -> None:
    assert made.text.count("Nothing was timed") == 1
    titles = [found["aria-label"] for tag, found in made.tags if tag == "svg"]
    rooflines = [title for title in titles if title.startswith("Roofline")]
    assert [("computed, not timed" in title) for title in rooflines] == [True, False]


def test_the_curve_over_all_sizes_takes_the_runs_with_most_rounds(tmp_path: Path) -> None:
    """32 x 32 and 128 x 32 are in different files, 64 x 32 is in both."""
    paths = []
    for name, heights, rounds in (("a", (32, 64), 3), ("b", (64, 128), 2)):
        found = [configuration("x", height=h, total=[h * rounds] * rounds) for h in heights]
        paths.append(write(tmp_path, name, to_json(latency_report(*found))))
    with draw.style():
        (plot,) = make_sections(read_sources(paths), None)[0].plots
    assert [[cell.text for cell in row] for row in plot.table.rows] == [
        ["32x32", "96.0"], ["64x32", "192"], ["128x32", "256"]
    ]  # fmt: skip


def test_experts_are_drawn_by_form(sections: list[Section]) -> None:
    found = next(s for top in sections for s in top.walk() if s.title == "experts")
    assert [plot.name for plot in found.plots] == [
        f"experts_64x96_{name}" for name in ("time", "memory", "bundle")
    ]
    assert "Merging pays from 7 pictures on" in found.remarks
    times = found.plots[0].table
    assert times.columns[-1] == ">gates, top 2"
    assert [row[-1].text for row in times.rows] == ["625", "750", "1000"]
    assert not any("fused" in column for column in times.columns)


def test_commands_and_tiles_are_the_files_numbers(made: Page) -> None:
    by_caption = {tuple(text for text, _ in table[0]): table for table in made.tables}
    runs = next(table for names, table in by_caption.items() if "command" in names)
    assert [text for text, _ in runs[1]][1:] == ["2.00", "1.00 to 3.00", "1.00", "1.50"]
    assert runs[2][-1] == ("–", None)
    tiled = next(table for names, table in by_caption.items() if "seam, of 255" in names)
    assert [[text for text, _ in row][2:5] for row in tiled[1:]] == [
        ["32", "40.0", "1.50"], ["32", "31.5", "1.50"],
        ["64", "40.0", "1.50"], ["64", "63.5", "1.50"],
    ]  # fmt: skip


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other, or a text with the figure's edge."""
    figure.draw_without_rendering()
    found = [(t.get_text(), t.get_window_extent()) for t in drawn_texts(figure)]
    out = [
        (text, "the edge")
        for text, b in found
        if b.x0 < -1 or b.x1 > figure.bbox.x1 + 1 or b.y0 < -1 or b.y1 > figure.bbox.y1 + 1
    ]
    for (one, a), (other, b) in combinations(found, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            out.append((one, other))
    return out


def drawn_texts(figure: Figure) -> list[Text]:
    """Without ticks beyond the limits, which Matplotlib keeps."""
    (axes,) = figure.axes
    found = [*figure.texts, *axes.texts, *(t for x in figure.legends for t in x.get_texts())]
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        found += [axis.label, *ticks] if axis.get_visible() else []
    return [text for text in found if text.get_text()]


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # as in `draw.style`
def test_no_text_lies_over_another(sections: list[Section]) -> None:
    found = {plot.name: pairs for plot in plots(sections) if (pairs := overlaps(plot.figure))}
    assert not found


def test_axes_have_units_and_figures_titles(sections: list[Section]) -> None:
    for plot in plots(sections):
        assert plot.figure.get_suptitle(), plot.name
        (axes,) = plot.figure.axes
        assert axes.get_xlabel(), plot.name
        assert axes.get_ylabel() or not axes.yaxis.get_visible(), plot.name
        width, height = plot.figure.get_size_inches() * 72
        assert (width, height) == (360, pytest.approx(np.clip(height, 150, 2000)))


def test_rounding_keeps_three_digits_and_the_order() -> None:
    values = [0.0, 0.00123456, 0.0999, 0.5, 0.99951, 1.0, 9.994, 10.0, 99.94, 100.0, 12345.6]
    shown = [float(rounded(value)) for value in values]
    assert shown == pytest.approx(values, rel=5e-3)
    assert all(a <= b for a, b in pairwise(shown))
