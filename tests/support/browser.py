"""The Chromium that tests drive, where one is installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 120_000
"""Milliseconds: a busy machine is no failure."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
          "--disable-background-networking", "--disable-component-update"]  # fmt: skip


@contextmanager
def launched() -> Iterator[Any]:
    """A browser for the time of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=_QUIET, timeout=PATIENCE
        )
        yield browser
        browser.close()
