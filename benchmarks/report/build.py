"""Turn result files into a page, its plots and its tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lorair.benchmarks.report import draw, kernels, latency, page, quality, sections
from lorair.benchmarks.report.content import Plot, Section, Source, slug
from lorair.benchmarks.report.files import environments, overview
from lorair.benchmarks.schema.results_file import read_report
from lorair.runtime.errors import OptionError
from lorair.runtime.system.table import escaped, to_markdown

_TAKEN: Final = ("files", "environment", "theme")


@dataclass(frozen=True)
class Made:
    """A page, the tables as Markdown, and the plots: file names and their bytes."""

    html: str
    markdown: str
    plots: dict[str, bytes]


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Read every file, and give each its own name. Raises ResultError and OptionError."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise OptionError(
            "report", wanted="each result file once", found="one of them twice",
            hint="leave one out",
        )  # fmt: skip
    stems = [path.stem for path in paths]
    sources: list[Source] = []
    for path, stem in zip(paths, stems, strict=True):
        label = stem if stems.count(stem) == 1 else str(path)
        sources.append(Source(path, label, _anchor(label, sources), read_report(path)))
    return sources


def make(sources: Sequence[Source], title: str, baseline: str | None, with_plots: bool) -> Made:
    """Make everything that can be written; write nothing yet."""
    latency.check_baseline(sources, baseline)
    with draw.style():
        found = make_sections(sources, baseline)
        html = page.render(title, overview(sources), _warning(sources), found)
        plots = _plot_files(found) if with_plots else {}
    return Made(html, _markdown(found), plots)


def make_sections(sources: Sequence[Source], baseline: str | None) -> list[Section]:
    """Make a section for each kind of result that is there, and one for the environment."""
    kinds: dict[str, tuple[str, Callable[[Source], Section]]] = {
        "latency": ("Latency", lambda source: latency.section(source, baseline)),
        "throughput": ("Throughput", sections.throughput),
        "experts": ("Experts", sections.experts),
        "kernels": ("Kernels", kernels.section),
        "quality": ("Quality", quality.section),
        "tiles": ("Tiles", sections.tiles),
        "commands": ("Commands", sections.commands),
    }
    across: dict[str, Callable[[Sequence[Source]], tuple[Plot, ...]]] = {
        "latency": latency.together,
        "throughput": sections.throughput_together,
    }
    made = []
    for kind, (title, make_one) in kinds.items():
        found = [source for source in sources if source.report.kind == kind]
        if found:
            plots = across[kind](found) if kind in across else ()
            parts = tuple(make_one(source) for source in found)
            made.append(Section(f"kind_{kind}", title, plots=plots, parts=parts))
    return [*made, environments(sources)]


def _markdown(made: Sequence[Section]) -> str:
    """The summary tables of all sections, each under its caption."""
    tables = [table for section in made for part in section.walk() for table in part.summary]
    return "\n".join(f"{escaped(t.caption)}:\n\n{to_markdown(t)}\n" for t in tables)


def _anchor(label: str, sources: Sequence[Source]) -> str:
    taken = {*_TAKEN, *(source.anchor for source in sources)}
    names = (f"{slug(label)}{end}" for end in ("", *(f"-{n}" for n in range(2, len(taken) + 2))))
    return next(name for name in names if name not in taken)


def _warning(sources: Sequence[Source]) -> str | None:
    lacking = [source.label for source in sources if not source.report.complete]
    if not lacking:
        return None
    return (
        f"Incomplete: {len(lacking)} of {len(sources)} runs were interrupted or failed and lack "
        f"some of what was asked for: {', '.join(lacking)}."
    )


def _plot_files(made: Sequence[Section]) -> dict[str, bytes]:
    plots = [plot for section in made for part in section.walk() for plot in part.plots]
    return {
        f"{plot.name}.{ending}": write(plot.figure)
        for plot in plots
        for ending, write in (("png", draw.png), ("svg", draw.svg))
    }
