"""The page of every kind of result, which takes seconds to draw."""

from pathlib import Path

import exports
import pytest
from report_files import HOSTILE, write_all

from lorair.benchmarks.report.build import make, read_sources


@pytest.fixture(scope="session")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of made results, with a hostile title; not to be changed."""

    def draw(path: Path) -> None:
        sources = read_sources(write_all(tmp_path_factory.mktemp("made")))
        path.write_text(make(sources, HOSTILE, None, with_plots=False).html, "utf-8")

    return exports.shared(tmp_path_factory, "report/made.html", draw)
