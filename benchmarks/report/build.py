"""Result files to a page, its plots and its tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lorair.benchmarks.report import (
    commands,
    draw,
    experts,
    kernels,
    latency,
    markdown,
    page,
    quality,
    throughput,
    tiles,
)
from lorair.benchmarks.report.content import Plot, Section, Source, slug
from lorair.benchmarks.report.files import environments, overview
from lorair.benchmarks.schema.results_file import read_report
from lorair.runtime.errors import OptionError

_TAKEN: Final = ("files", "environment", "theme")


@dataclass(frozen=True)
class Made:
    """plots: file names and their bytes."""

    html: str
    markdown: str
    plots: dict[str, bytes]


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Read every file, and give it a name of its own. Raises ResultError and OptionError."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise OptionError(
            "report", wanted="each result file once", found="one of them twice",
            hint="leave it out",
        )  # fmt: skip
    stems = [path.stem for path in paths]
    sources: list[Source] = []
    for path, stem in zip(paths, stems, strict=True):
        label = stem if stems.count(stem) == 1 else str(path)
        sources.append(Source(path, label, _anchor(label, sources), read_report(path)))
    return sources


def make(sources: Sequence[Source], title: str, baseline: str | None, with_plots: bool) -> Made:
    """Everything that can be written, nothing written yet."""
    latency.check_baseline(sources, baseline)
    with draw.style():
        sections = make_sections(sources, baseline)
        html = page.render(title, overview(sources), _warning(sources), sections)
        plots = _plot_files(sections) if with_plots else {}
    return Made(html, markdown.render(sections), plots)


def make_sections(sources: Sequence[Source], baseline: str | None) -> list[Section]:
    """One for each kind that is there, and the environment."""
    kinds: dict[str, tuple[str, Callable[[Source], Section]]] = {
        "latency": (latency.TITLE, lambda source: latency.section(source, baseline)),
        "throughput": (throughput.TITLE, throughput.section),
        "experts": (experts.TITLE, experts.section),
        "kernels": (kernels.TITLE, kernels.section),
        "quality": (quality.TITLE, quality.section),
        "tiles": (tiles.TITLE, tiles.section),
        "commands": (commands.TITLE, commands.section),
    }
    across: dict[str, Callable[[Sequence[Source]], tuple[Plot, ...]]] = {
        "latency": latency.together,
        "throughput": throughput.together,
    }
    sections = []
    for kind, (title, make_one) in kinds.items():
        found = [source for source in sources if source.report.kind == kind]
        if found:
            plots = across[kind](found) if kind in across else ()
            parts = tuple(make_one(source) for source in found)
            sections.append(Section(f"kind_{kind}", title, plots=plots, parts=parts))
    return [*sections, environments(sources)]


def _anchor(label: str, sources: Sequence[Source]) -> str:
    taken = {*_TAKEN, *(source.anchor for source in sources)}
    wanted, count = slug(label), 2
    found = wanted
    while found in taken:
        found, count = f"{wanted}-{count}", count + 1
    return found


def _warning(sources: Sequence[Source]) -> str | None:
    lacking = [source.label for source in sources if not source.report.complete]
    if not lacking:
        return None
    return (
        f"Incomplete: {len(lacking)} of {len(sources)} runs were interrupted or failed and lack "
        f"some of what was asked for: {', '.join(lacking)}."
    )


def _plot_files(sections: Sequence[Section]) -> dict[str, bytes]:
    plots = [plot for section in sections for part in section.walk() for plot in part.plots]
    return {
        f"{plot.name}.{ending}": write(plot.figure)
        for plot in plots
        for ending, write in (("png", draw.png), ("svg", draw.svg))
    }
