"""Turn result files into a page, its plots and its tables.

The page is one HTML file with its styles, script and pictures in it.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lorair.benchmarks.report import draw, kernels, latency, quality, sections
from lorair.benchmarks.report.content import Plot, Section, Source, environments, overview, slug
from lorair.benchmarks.schema.results_file import read_report
from lorair.runtime.errors import OptionError
from lorair.runtime.system.table import escaped, to_markdown

_TAKEN: Final = ("files", "environment", "theme")
_TEMPLATES: Final = Path(__file__).parent / "templates"

Sources = Sequence[Source[Any]]


@dataclass(frozen=True)
class Made:
    """A page, the tables as Markdown, and the plots: file names and their bytes."""

    html: str
    markdown: str
    plots: dict[str, bytes]


def read_sources(paths: Sequence[Path]) -> list[Source[Any]]:
    """Read every file, and give each its own name. Raises ResultError and OptionError."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise OptionError(
            "report", wanted="each result file once", found="one of them twice",
            hint="leave one out",
        )  # fmt: skip
    stems = [path.stem for path in paths]
    sources: list[Source[Any]] = []
    for path, stem in zip(paths, stems, strict=True):
        label = stem if stems.count(stem) == 1 else str(path)
        sources.append(Source(path, label, _anchor(label, sources), read_report(path)))
    return sources


def make(sources: Sources, title: str, baseline: str | None, with_plots: bool) -> Made:
    """Make everything that can be written; write nothing yet."""
    latency.check_baseline(sources, baseline)
    with draw.style():
        found = make_sections(sources, baseline)
        html = _page(title, sources, found)
        parts = [part for section in found for part in section.walk()]
        plots = {
            f"{plot.name}.{ending}": write(plot.figure)
            for part in parts if with_plots
            for plot in part.plots
            for ending, write in (("png", draw.png), ("svg", draw.svg))
        }  # fmt: skip
    tables = [(f"{part.title}: {t.caption}", t) for part in parts for t in part.summary]
    markdown = "\n".join(f"{escaped(caption)}:\n\n{to_markdown(t)}\n" for caption, t in tables)
    return Made(html, markdown, plots)


def make_sections(sources: Sources, baseline: str | None) -> list[Section]:
    """Make a section for each kind of result that is there, and one for the environment."""
    kinds: dict[str, Callable[[Source[Any]], Section]] = {
        "latency": lambda source: latency.section(source, baseline),
        "throughput": sections.throughput,
        "experts": sections.experts,
        "kernels": kernels.section,
        "quality": quality.section,
        "tiles": sections.tiles,
        "commands": sections.commands,
    }
    across: dict[str, Callable[[Sources], Sequence[Plot]]] = {
        "latency": latency.together,
        "throughput": sections.throughput_together,
    }
    made = []
    for kind, make_one in kinds.items():
        if found := [source for source in sources if source.report.kind == kind]:
            plots = across[kind](found) if kind in across else ()
            parts = [make_one(source) for source in found]
            made.append(Section(f"kind_{kind}", kind.capitalize(), plots=plots, parts=parts))
    return [*made, environments(sources)]


def _anchor(label: str, sources: Sources) -> str:
    taken = {*_TAKEN, *(source.anchor for source in sources)}
    names = (f"{slug(label)}{end}" for end in ("", *(f"-{n}" for n in range(2, len(taken) + 2))))
    return next(name for name in names if name not in taken)


def _page(title: str, sources: Sources, found: Sequence[Section]) -> str:
    """The whole document; of the sections the last is the environment."""
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    # ElementTree has escaped every label.
    environment.filters["drawn"] = lambda plot: Markup(draw.inline_svg(plot))
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return environment.get_template("page.html").render(
        title=title,
        overview=overview(sources),
        warning=_warning(sources),
        sections=found,
        anchors={s.title: s.anchor for kind in found[:-1] for s in kind.parts},
        css=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
        light=Markup(draw.declarations(dark=False)),
        dark=Markup(draw.declarations(dark=True)),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _warning(sources: Sources) -> str | None:
    lacking = [source.label for source in sources if not source.report.complete]
    said = (
        f"Incomplete: {len(lacking)} of {len(sources)} runs were interrupted or failed and lack "
        f"some of what was asked for: {', '.join(lacking)}."
    )
    return said if lacking else None
