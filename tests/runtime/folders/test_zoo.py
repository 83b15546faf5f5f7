"""A folder of everything that cameras, phones and Pillow's own tests hold: nothing is silent."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import picture_files as files
import pytest
import tifffile
from command import Command
from PIL import Image

RGB = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def saved(mode: str, kind: str, **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        Image.fromarray(RGB).convert(mode).save(out, kind, **options)
        return out.getvalue()

    return make


def tiff(samples: np.ndarray, **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        tifffile.imwrite(out, samples, **{"photometric": "rgb", "metadata": None, **options})
        return out.getvalue()

    return make


def heic() -> bytes:
    from pillow_heif import from_pillow

    out = io.BytesIO()
    from_pillow(Image.fromarray(RGB)).save(out)
    return out.getvalue()


def raw(content: bytes) -> Callable[[], bytes]:
    return lambda: content


ANIMATION = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)]}
DEEP = RGB.astype(np.uint16) * 257

RESTORED: dict[str, Callable[[], bytes]] = {
    "animation.gif": saved("RGB", "GIF", **ANIMATION),
    "animation.webp": saved("RGB", "WEBP", **ANIMATION),
    "anim.apng": saved("RGB", "PNG", **ANIMATION),
    "bitmap.bmp": saved("RGB", "BMP"),
    "camera.jpg": saved("RGB", "JPEG", progressive=True),
    "camera.jpe": saved("L", "JPEG"),
    "chat.jfif": saved("RGB", "JPEG"),
    "deep.png": lambda: files.png_file(DEEP),
    "deep.tif": tiff(DEEP),
    "fax.tiff": saved("1", "TIFF", compression="group4"),
    "grey.pgm": saved("L", "PPM"),
    "ink.jpeg": saved("CMYK", "JPEG"),
    "icon.png": saved("P", "PNG", transparency=0),
    "line.pbm": saved("1", "PPM"),
    "new.avif": saved("RGB", "AVIF"),
    "pages.tif": saved("RGB", "TIFF", **ANIMATION),
    "phone.HEIC": heic,
    "phone.hif": heic,
    "really heic.jpg": heic,  # as phones and chats name them
    "scan.ppm": saved("RGB", "PPM"),
    "stereo.mpo": saved("RGB", "MPO", **ANIMATION),
    "web.webp": saved("RGBA", "WEBP"),
}
FAILED: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut.jpg": (lambda: saved("RGB", "JPEG")()[:300], "damaged data"),
    "download.png": (raw(b"<!doctype html><title>404</title>"), "33 bytes of something else"),
    "empty.png": (raw(b""), "an empty file"),
    "float.tif": (tiff(RGB.astype(np.float32)), "export it with 8 or 16 bits"),
    "mask.tif": (
        tiff(RGB[..., 0].astype(np.int32), photometric="minisblack"),
        "of 32 bits; convert",
    ),
}
EXPORT, RAW = "export it as PNG or TIFF first", "raw: develop it first"
VIDEO, NONE = "a video: lorair-run video restores it", "no picture"
LEFT_OUT: dict[str, tuple[Callable[[], bytes], str]] = {
    "IMG_1.AAE": (raw(b"<plist/>"), NONE),
    "IMG_1.MOV": (raw(b"\0\0\0\x14ftypqt  "), VIDEO),
    "clip.mp4": (raw(b"\0\0\0\x14ftypisom"), VIDEO),
    "DSC_1.NEF": (tiff(RGB), RAW),  # a TIFF of a thumbnail to others
    "DSC_1.xmp": (raw(b"<x/>"), NONE),
    "IMG_2.CR3": (raw(b"\0\0\0\x18ftypcrx "), RAW),
    "IMG_3.dng": (tiff(RGB), RAW),
    "Thumbs.db": (raw(b"\xd0\xcf"), NONE),
    "drawing.svg": (raw(b"<svg/>"), EXPORT),
    "favicon.ico": (saved("RGB", "ICO"), EXPORT),
    "game.tga": (saved("RGB", "TGA"), EXPORT),
    "layers.psd": (raw(b"8BPS"), EXPORT),
    "letter.pdf": (saved("RGB", "PDF"), EXPORT),
    "light.exr": (raw(b"v/1\x01"), EXPORT),
    "new.jxl": (raw(b"\xff\x0a"), EXPORT),
    "old.pcx": (saved("RGB", "PCX"), EXPORT),
    "print.eps": (saved("RGB", "EPS"), EXPORT),
    "scan.jp2": (raw(b"\0\0\0\x0cjP  "), EXPORT),
    "notes": (raw(b"bring an umbrella"), NONE),
}


def test_every_file_is_restored_or_named_with_a_reason(
    lorair_run: Command, default_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pillow_heif")
    folder = tmp_path / "camera"
    folder.mkdir()
    made = RESTORED | {name: make for name, (make, _) in (FAILED | LEFT_OUT).items()}
    assert len(made) >= 40
    assert len({Path(name).suffix.lower() for name in made}) >= 20
    for name, make in made.items():
        (folder / name).write_bytes(make())
    options = ("-b", default_bundle, "--backend", "onnxruntime", "--jobs", 1)
    done = lorair_run("infer", folder, "-o", tmp_path / "out", "--report", tmp_path / "r", *options)
    assert done.code == 1
    report = json.loads((tmp_path / "r").read_text())
    pictures = {Path(one["input"]).name: one for one in report["pictures"]}
    left_out = {Path(one["input"]).name: one["reason"] for one in report["left_out"]}
    assert {name for name, one in pictures.items() if one["status"] == "restored"} == set(RESTORED)
    assert {name for name, one in pictures.items() if one["status"] == "failed"} == set(FAILED)
    assert left_out == {name: reason for name, (_, reason) in LEFT_OUT.items()}
    for name, (_, words) in FAILED.items():
        assert words in pictures[name]["error"]
        assert name in done.err
    assert f"{len(LEFT_OUT)} files left out: " in done.err
    for one in report["pictures"]:
        if one["status"] == "restored":
            with Image.open(one["output"]) as image:
                assert image.size == (24, 16)
