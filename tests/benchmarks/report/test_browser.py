"""The page in a real browser, where one is installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PATIENCE, launched, needs_chromium

pytest.importorskip("playwright.sync_api")
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


def opened(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    """The page, and what went wrong in it: messages, errors, requests to anything else."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))

    def request(found: Any) -> None:
        if found.url != path.as_uri() and not found.url.startswith("data:"):
            wrong.append(found.url)

    page.on("request", request)
    page.goto(path.as_uri())
    return page, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_opens_quietly_and_fits(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    page, wrong = opened(browser, page_file, width, scheme)
    for details in page.query_selector_all("details"):
        details.evaluate("d => d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth == 64)")
    assert not wrong
    page.close()


def test_slider_and_theme_by_keyboard(browser: Any, page_file: Path) -> None:
    page, wrong = opened(browser, page_file, 375, "light")
    slider = page.locator(".slider input[type=range]").first
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.input_value() == "53"
    clip = page.evaluate("getComputedStyle(document.querySelector('.degraded')).clipPath")
    assert "47%" in clip
    assert not page.locator(".truth").is_visible()
    page.locator(".slider input[type=checkbox]").first.press("Space")
    assert page.locator(".truth").is_visible()
    assert not page.locator(".restored").is_visible()
    page.locator("#theme").press("Enter")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == "rgb(20, 23, 27)"
    assert not wrong
    page.close()
