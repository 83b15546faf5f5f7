"""Write the page: one HTML file with its styles, script and pictures in it."""

import base64
import hashlib
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lorair.benchmarks.report.content import Plot, Section
from lorair.benchmarks.report.draw import inline_svg
from lorair.benchmarks.report.palette import declarations
from lorair.runtime.system.table import Table

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render(title: str, overview: Table, warning: str | None, sections: list[Section]) -> str:
    """Return the whole document.

    Args:
        title: of the page.
        overview: of the files; its first column leads to their sections.
        warning: stands above everything else; None without one.
        sections: one for each kind, and the environment.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = _drawn
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    return environment.get_template("page.html").render(
        title=title,
        overview=overview,
        warning=warning,
        sections=sections,
        anchors={s.title: s.anchor for kind in sections[:-1] for s in kind.parts},
        css=Markup((_TEMPLATES / "report.css").read_text("utf-8")),
        light=Markup(declarations(dark=False)),
        dark=Markup(declarations(dark=True)),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _drawn(plot: Plot) -> Markup:
    # ElementTree has escaped every label.
    return Markup(inline_svg(plot))
