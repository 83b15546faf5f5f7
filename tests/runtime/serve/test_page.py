"""The page in a browser, on the real server with the default model."""

import base64
import io
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from browser import PATIENCE, launched, needs_chromium
from PIL import Image
from serve_check import Server

from lorair.runtime import images
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.serve.server import listen

pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")
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

PIXELS = """() => {
    const image = document.querySelector("#before");
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return {...context.getImageData(0, 0, canvas.width, canvas.height).data};
}"""
RINGS = """() => [...document.querySelectorAll("body *")].filter((one) => {
    const {width, height} = one.getBoundingClientRect();
    const isSeen = !one.matches(".unseen, #slider") && width * height > 0;
    return ["", "::after"].some((part) => {
        const style = getComputedStyle(one, part);
        return isSeen && style.outlineStyle !== "none" && style.content !== "none" | part === "";
    });
}).map((one) => one.id || one.className)"""


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


on_a_desktop = pytest.mark.parametrize("page", ["desktop-light"], indirect=True)


@on_a_desktop
def test_several_pictures_a_list_and_one_zip(page: Any, address: str, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    with Image.open(EXAMPLE) as image:
        crop = image.crop((100, 100, 196, 164))
    deep = np.asarray(crop).astype(np.uint16) * 257
    images.write(tmp_path / "deep.tiff", images.Picture(deep))
    crop.save(tmp_path / "rain.png")
    pillow_heif.from_pillow(crop).save(tmp_path / "phone.heic", quality=-1)
    (tmp_path / "notes.txt").write_text("no picture at all")
    (tmp_path / "2").mkdir()
    crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "2" / "rain.png")
    files = [tmp_path / name for name in ("deep.tiff", "rain.png", "phone.heic", "notes.txt")]
    page.is_refused = True
    page.set_input_files("#file", [*files, tmp_path / "2" / "rain.png"])
    page.locator("#status", has_text="4 of 5 restored.").wait_for()
    rows = page.locator("#list button")
    assert [re.sub(r"\s+", " ", text) for text in rows.all_text_contents()] == [
        "deep.tiffrain", "rain.pngrain", "phone.heicrain", "notes.txtcannot read the picture",
        "rain.pngrain",
    ]  # fmt: skip
    for row in (0, 2):  # which Chromium cannot show as they were
        rows.nth(row).click()
        page.wait_for_selector("#compare:not(.only-after):not(.only-before)")
        shown = np.array(list(page.evaluate(PIXELS).values())).reshape(64, 96, 4)[..., :3]
        assert np.abs(shown - np.asarray(crop, int)).mean() < 2  # HEIC's colours are coarser
    rows.nth(3).click()
    page.wait_for_selector("#error:visible")
    page.click("#dismiss")

    with page.expect_download() as waiting:
        page.click("#all")
    with zipfile.ZipFile(waiting.value.path()) as found:
        assert found.testzip() is None
        names = ["deep.restored.png", "rain.restored.png", "phone.restored.png"]
        assert found.namelist() == [*names, "rain-2.restored.png"]
        for file, name in zip(files, names, strict=False):
            answer = httpx.post(f"{address}/v1/restore", content=file.read_bytes(), timeout=60)
            assert found.read(name) == answer.content
    page.select_option("#format", "webp")
    page.locator("#status", has_text="4 of 4 restored.").wait_for()
    with page.expect_download() as waiting:
        page.click("#all")
    with zipfile.ZipFile(waiting.value.path()) as found:
        assert {name[-5:] for name in found.namelist()} == {".webp"}


@on_a_desktop
def test_zoom_to_the_pixels(page: Any) -> None:
    with Image.open(EXAMPLE) as image:
        wide = image.resize((900, 300))
    out = io.BytesIO()
    wide.save(out, "PNG")
    drop(page, out.getvalue(), "holiday.png", "image/png")
    page.wait_for_selector("#result[aria-busy=false]")
    restored = _downloaded(page)
    box = page.locator("#compare").bounding_box()
    left, top = (900 - box["width"]) / 2, (300 - box["height"]) / 2

    def seen() -> np.ndarray:
        x, y = round(box["x"]), round(box["y"])
        clip = {"x": x, "y": y + 60, "width": box["width"], "height": 100}
        with Image.open(io.BytesIO(page.screenshot(clip=clip))) as image:
            return np.asarray(image.convert("RGB"))

    def expected(right: int, down: int, picture: Any) -> np.ndarray:
        rows = slice(round(top) - down + 60, round(top) - down + 160)
        columns = slice(round(left) - right, round(left) - right + round(box["width"]))
        return np.asarray(picture)[rows, columns]

    page.click("#zoom")
    assert page.get_attribute("#zoom", "aria-pressed") == "true"
    page.focus("#slider")
    page.keyboard.press("Home")
    page.wait_for_timeout(300)
    assert (seen()[:, 40:] == expected(0, 0, restored)[:, 40:]).all()
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 320, box["y"] + 90)
    page.mouse.up()
    assert page.locator("#slider").input_value() == "0"
    assert (seen()[:, 40:] == expected(20, -10, restored)[:, 40:]).all()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("End")
    assert (seen()[:, :-40] == expected(60, -10, wide)[:, :-40]).all()
    page.click("#zoom")
    assert "zoomed" not in page.get_attribute("#compare", "class")


def test_progress_counts_tiles(browser: Any, make: Callable[..., Any]) -> None:
    client, restorer, _ = make()
    restorer.tiles, gate, done = 24, restorer.open, count()
    gate.clear()
    restorer.open = SimpleNamespace(wait=lambda s: next(done) < 6 or gate.wait(s), set=gate.set)
    server = uvicorn.Server(uvicorn.Config(client.app, log_level="error"))
    sock = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://127.0.0.1:{sock.getsockname()[1]}")
        page.click("#example")
        page.locator("#status", has_text="Restoring, tile 6 of 24").wait_for()
        assert page.locator("#progress").evaluate("e => e.value") == 0.25
        gate.set()
        page.wait_for_selector("#download:visible")
    server.should_exit = True
    thread.join()


@on_a_desktop
def test_one_focus_ring_at_a_time(page: Any) -> None:
    page.click("#example")
    page.wait_for_selector("#result[aria-busy=false]")
    places = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        rings = page.evaluate(RINGS)
        assert len(rings) == 1 or page.evaluate("document.activeElement === document.body")
        places.update(rings)
    assert {"zoom", "strength", "format", "download", "another"} <= places
    page.click("#another")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert len(page.evaluate(RINGS)) == 1


@on_a_desktop
def test_the_api_in_words(page: Any, address: str) -> None:
    page.click("footer a")
    page.locator("h2", has_text="POST /v1/restore").wait_for()
    schema = httpx.get(f"{address}/openapi.json").json()
    shown = page.locator("#docs").inner_text()
    for path, methods in schema["paths"].items():
        for method, one in methods.items():
            assert f"{method.upper()} {path}" in shown
            assert one["summary"] in shown
            assert all(option["name"] in shown for option in one.get("parameters", []))
    assert f"curl --data-binary @photo.jpg -o answer {address}/v1/restore" in shown
    assert "undefined" not in shown
    assert "[object" not in shown


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
