"""The page in a browser, on the real server with the default model."""

import base64
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import PATIENCE, launched, needs_chromium
from PIL import Image
from serve_check import Server

from lorair.runtime.bundle import SHIPPED_BUNDLE

pytest.importorskip("playwright.sync_api")
pytestmark = needs_chromium

EXAMPLE = Path(__file__).parents[3] / "examples" / "rain.jpg"
DROP = """([content, name, type]) => {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    const place = document.querySelector("#drop");
    for (const kind of ["dragenter", "dragover", "drop"])
        place.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = Server(str(SHIPPED_BUNDLE), "--backend", "onnxruntime")
    yield server.url
    assert server.end() == 0
    server.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture(params=["desktop-light", "phone-dark"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """A page; at its end nothing was said in the console, and nobody else was asked."""
    device, scheme = request.param.split("-")
    sizes = {"desktop": (1280, 800), "phone": (390, 844)}
    width, height = sizes[device]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme,
        has_touch=device == "phone", device_scale_factor=1,
    )  # fmt: skip
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asking: asked.append(asking.url))
    page.device, page.is_refused = device, False
    page.goto(address)
    yield page
    assert [text for text in said if "status of 422" not in text] == []
    assert bool(said) == page.is_refused
    assert all(url.startswith((address, f"blob:{address}")) for url in asked), asked
    context.close()


def drop(page: Any, content: bytes, name: str, kind: str) -> None:
    page.evaluate(DROP, [base64.b64encode(content).decode(), name, kind])


def test_drop_compare_override_download(page: Any) -> None:
    drop(page, EXAMPLE.read_bytes(), "holiday.jpg", "image/jpeg")
    page.wait_for_selector("#download:visible")
    assert re.match(r"Restored as rain, \d+ % likely", page.text_content("#status"))
    assert page.is_checked("input[name=expert][value='']")
    assert page.locator(".option .bar").count() == 4
    _screenshot(page)

    slider = page.locator("#slider")
    assert page.evaluate("document.activeElement.id") == "slider"
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "51"
    assert page.locator("#compare").evaluate("e => e.style.getPropertyValue('--at')") == "51%"
    box = page.locator("#compare").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60)
    page.mouse.up()
    assert abs(int(float(slider.input_value())) - 25) <= 1
    assert "as it was" in slider.get_attribute("aria-valuetext")

    first = _downloaded(page)
    page.check("input[name=expert][value=snow]")
    page.locator("#status", has_text="as snow").wait_for()
    second = _downloaded(page)
    assert first.shape == second.shape == (320, 480, 3)
    assert (first != second).any()
    page.check("input[name=expert][value='']")
    page.locator("#status", has_text="as rain").wait_for()
    assert (_downloaded(page) == first).all()

    page.select_option("#format", "jpg")
    page.locator("#download", has_text="Download JPEG").wait_for()
    page.wait_for_selector("#result[aria-busy=false]")
    small = _downloaded(page, "holiday.restored.jpg").astype(float)
    assert 0 < np.abs(small - first).mean() < 3
    page.select_option("#format", "png")
    page.locator("#download", has_text="Download PNG").wait_for()

    page.focus("#strength")
    page.keyboard.press("Home")
    page.locator("#percent", has_text="0 %").wait_for()
    page.wait_for_selector("#result[aria-busy=false]")
    with Image.open(EXAMPLE) as image:
        assert (_downloaded(page) == np.asarray(image)).all()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_errors_are_said_in_words(page: Any) -> None:
    drop(page, b"no picture at all", "notes.txt", "text/plain")
    page.wait_for_selector("#error:visible")
    page.is_refused = True  # which Chromium itself says in the console
    assert page.text_content("#what") == "cannot read the picture"
    assert "found 17 bytes of something else" in page.text_content("#why")
    assert page.is_visible("#start")
    assert page.get_attribute("#error", "role") == "alert"
    page.click("#dismiss")
    page.click("#example")
    page.wait_for_selector("#download:visible")
    assert not page.is_visible("#error")


def test_a_wrong_token_is_said(browser: Any, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)

        def guard(route: Any) -> None:
            if route.request.headers.get("authorization") == "Bearer right":
                route.continue_()
            else:
                route.fulfill(status=401)

        page.route("**/v1/models", guard)
        page.goto(address)
        page.wait_for_selector("#ask-token[open]")
        assert not page.is_visible("#wrong-token")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#wrong-token:visible")
        assert page.text_content("#wrong-token") == "That token was wrong. Try again."
        page.fill("#token", "right")
        page.keyboard.press("Enter")
        page.locator("#model", has_text="fp32").wait_for()
        assert not page.is_visible("#ask-token")


def _downloaded(page: Any, name: str = "holiday.restored.png") -> np.ndarray:
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == name
    with Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes())) as image:
        return np.asarray(image)


def _screenshot(page: Any) -> None:
    """For docs/, if they are asked for: LORAIR_SCREENSHOTS=docs."""
    if folder := os.environ.get("LORAIR_SCREENSHOTS"):
        page.wait_for_timeout(800)  # until the bars have grown
        with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
            palette = image.convert("RGB").quantize(256)
            small = image.convert("RGB").quantize(palette=palette)  # dithered
        small.save(Path(folder, f"serve-{page.device}.png"), optimize=True)
