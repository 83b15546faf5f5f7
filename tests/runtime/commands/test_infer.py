import json
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command import Command
from made_up_decoder import COMMAND
from picture_files import png_file, png_samples
from PIL import Image

from lorair import Restorer
from lorair.runtime import images
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import Bundle, write_manifest
from lorair.runtime.decoding import pool
from lorair.runtime.system import console

STAGES = {"decode", "views", "router", "restorer", "encode"}


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_infer_writes_beside_the_input(
    infer: Command, tiny_bundle: Path, picture_file: Path
) -> None:
    result = infer(picture_file)
    assert result.code == 0
    target = picture_file.with_name("picture.restored.png")
    with Image.open(target) as found, Image.open(picture_file) as image:
        wanted = Restorer.open(tiny_bundle).restore(np.asarray(image))
        np.testing.assert_array_equal(np.asarray(found), wanted.image)
    for shown in (str(target), "90x70", wanted.route.summary(), *STAGES):
        assert shown in result.out
    assert files(picture_file.parent) == {"picture.png", "picture.restored.png"}


def test_a_folders_bar_moves_with_the_tiles_of_its_pictures(
    infer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    monkeypatch.setattr(console, "counter", lambda total: nullcontext(shares.append))
    for name, side in (("a.png", 200), ("b.png", 40), ("c.png", 200)):
        Image.new("RGB", (side, side), "gray").save(tmp_path / name)
    assert infer(tmp_path, "--tile", 128, "--jobs", 2).code == 0
    of_one = 2 * 9  # passes, tiles
    assert sorted(shares) == pytest.approx([0.0] * 2 + [1 / of_one] * 2 * of_one + [1.0])


def test_where_the_bundle_comes_from(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAIR_BUNDLE", str(tiny_bundle))
    assert lorair_run("infer", picture_file).code == 0
    monkeypatch.delenv("LORAIR_BUNDLE")
    monkeypatch.chdir(picture_file.parent)
    shipped = lorair_run("infer", picture_file)
    assert (shipped.code, "default model" in shipped.err) == (0, True)
    named = lorair_run("infer", picture_file, "--bundle", "lorair-bundle")
    assert named.code == 2
    assert "no bundle at lorair-bundle" in named.error
    (picture_file.parent / "lorair-bundle").symlink_to(tiny_bundle)
    found = lorair_run("infer", picture_file)
    assert (found.code, "default model" in found.err) == (0, False)
    assert "default model" in lorair_run("infer", picture_file, "-b", "default").err


def test_strength(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    kept = {}
    for strength in (0, 0.5, 1):
        target = tmp_path / f"{strength}.png"
        command = ("infer", picture_file, "-b", tiny_bundle, "-o", target, "--strength", strength)
        assert lorair_run(*command).code == 0
        with Image.open(target) as image:
            kept[strength] = np.asarray(image).astype(int)
    with Image.open(picture_file) as image:
        np.testing.assert_array_equal(kept[0], np.asarray(image))
    np.testing.assert_array_equal(kept[0.5], np.rint((kept[0] + kept[1]) / 2))
    assert (kept[1] != kept[0]).any()
    assert lorair_run("infer", picture_file, "-b", tiny_bundle, "--strength", 1.1).code == 2


def test_no_expert_at_all(lorair_run: Command, tiny_bundle: Path, picture_file: Path) -> None:
    command = ("infer", picture_file, "-b", tiny_bundle, "--json", "--expert", "none")
    (picture,) = json.loads(lorair_run(*command).out)["pictures"]
    assert picture["route"]["class"] == "none"
    assert set(picture["route"]["gates"].values()) == {0}


def test_json_and_report_say_the_same(infer: Command, picture_file: Path, tmp_path: Path) -> None:
    report = tmp_path / "run.json"
    document = json.loads(infer(picture_file, "--json", "--report", report).out)
    assert json.loads(report.read_text()) == document
    (picture,) = document["pictures"]
    assert (picture["width"], picture["height"]) == (90, 70)
    for shares in ("gates", "probabilities"):
        assert sum(picture["route"][shares].values()) == pytest.approx(1)
    assert set(picture["seconds"]) >= STAGES
    assert "onnxruntime" in document["backend"]


def test_several_pictures_go_into_a_folder_and_one_bad_ends_nothing(
    infer: Command, picture_file: Path, tmp_path: Path
) -> None:
    other, out, bad = tmp_path / "other.jpg", tmp_path / "out", tmp_path / "bad.png"
    Image.open(picture_file).save(other)
    bad.write_bytes(b"nothing")
    report = ("--report", tmp_path / "r.json")
    result = infer(bad, picture_file, other, "-o", out, *report)
    assert (result.code, "bad.png" in result.err) == (1, True)
    assert files(out) == {"picture.restored.png", "other.restored.png"}
    entries = json.loads((tmp_path / "r.json").read_text())["pictures"]
    assert ["error" in entry for entry in entries] == [True, False, False]
    assert infer(bad, tmp_path / "none.png", *report).code == 2, "nothing went well"


P = "{dir}/picture.png"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{dir}/none.png",), "none.png: wanted a picture, found no such file"),
        (("{dir}/empty.png",), "empty.png: wanted a picture"),
        ((P, "-o", P), "never an input"),
        ((P, "-o", "{dir}/../{name}/picture.png"), "never an input"),
        ((P, "-o", "{dir}/link.png"), "never an input"),
        ((P, "-o", "{dir}/out.xyz"), "wanted one of the endings"),
        ((P, "-o", "{dir}/empty.png/out.png"), "wanted a folder"),
        ((P, "-o", "/proc/none/out.png"), "cannot write /proc/none/out.png"),
        ((P, P), "picture.png named twice"),
        ((P, "{dir}/x.png", "-o", "{dir}/empty.png"), "wanted a folder"),
        ((P, "--max-pixels", "100"), "at most 0.0001 megapixels, found 90x70"),
        ((P, "--backend", "abacus"), "wanted auto or one of tensorrt-rtx"),
        ((P, "--report", "{dir}/empty.png/r.json"), "wanted a folder"),
        ((P, "--report", "{dir}/new/r.json"), "wanted a folder that is there, found no folder"),
        ((P, "{dir}/x.png", "-o", "{dir}/one.png"), "wanted a folder, found a picture's name"),
        (("{dir}/x.png", "{dir}/y.png"), "x.png: wanted a picture, found no such file"),
        ((P, "--report", P), "an input or output of this run"),
        ((P, "--report", "{dir}/picture.restored.png"), "an input or output"),
        ((P, "--report", "{bundle}/manifest.json"), "an input or output of this"),
        ((P, "--report", "{dir}"), "wanted a file, found a folder"),
        ((P, "--threads", "100000"), "wanted 1 to 1024"),
        ((P, "--quality", "80"), "--quality: wanted a lossy format"),
        ((P, "--format", "gif"), "--format: wanted one of png, jpg"),
        ((P, "--format", "jpg", "-o", "{dir}/x.png"), "found jpg; leave"),
        ((P, "--compare", "-o", "{dir}/x.png", "--report", "{dir}/x.compare.png"), "of this run"),
        (("{dir}/hollow",), "nothing to restore in"),
        (("{dir}", "--glob", "*.jpg"), "wanted *.jpg, found none"),
        (("",), "INPUT: wanted a path, found an empty text"),
        ((P, "--expert", "fog"), "--expert: wanted one of snow, rain, raindrop"),
        ((P, "--gates", "rain=0.5"), "shares that sum to 1, found 0.5"),
        ((P, "--expert", "rain", "--gates", "rain=1"), "no --gates beside it"),
        ((P, "--route", P), "cannot read the route"),
        ((P, "--route", "x", "--route-from", "first"), "no --route beside it"),
        ((P, "--route-from", "0"), "first, each, or a number from 1"),
        ((P, "--jobs", "0"), "jobs: wanted 1 to 1024"),
        ((P, "--tile", "huge"), "--tile: wanted auto, off, or a side"),
        ((P, "--timeout", "0"), "--timeout: wanted seconds, up to a day, found 0"),
        ((P, "-o", "{dir}/empty"), "wanted a folder, found the file"),
        (("{dir}/pic[/b].png",), "pic[/b].png: wanted a picture, found no such file"),
    ],
)
def test_mistakes_change_nothing(
    arguments: tuple[str, ...], words: str, infer: Command, tiny_bundle: Path, picture_file: Path
) -> None:
    folder = picture_file.parent
    (folder / "empty.png").touch()
    (folder / "empty").touch()
    (folder / "hollow").mkdir()
    (folder / "link.png").symlink_to(picture_file)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    result = infer(*(a.format(dir=folder, name=folder.name, bundle=tiny_bundle) for a in arguments))
    assert result.code == 2
    assert words in result.error
    assert result.error.startswith("error: ")
    assert "Traceback" not in result.err
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{dir}/none.png",), "found no such file"),
        ((P, "--expert", "fog"), "--expert: wanted one of"),
        ((P, "--gates", "rain"), "--gates"),
        ((P, "--route", "{dir}/none.json"), "cannot read the route"),
        ((P, "--format", "gif"), "--format"),
    ],
)
def test_mistakes_are_found_before_a_backend_starts(
    arguments: tuple[str, ...], words: str, infer: Command, picture_file: Path
) -> None:
    """The backend that is asked for could not start, and nobody hears of it."""
    filled = (argument.format(dir=picture_file.parent) for argument in arguments)
    result = infer(*filled, "--backend", "abacus")
    assert (result.code, words in result.error) == (2, True), result.error


def test_format_quality_and_comparison(infer: Command, picture_file: Path, tmp_path: Path) -> None:
    """Also: an output whose name has no ending is a folder."""
    options = ("--format", "jpg", "--quality", "60", "--compare", "--json", "-o", tmp_path / "out")
    result = infer(picture_file, *options)
    assert result.code == 0, result.err
    (entry,) = json.loads(result.out)["pictures"]
    assert files(tmp_path / "out") == {"picture.restored.jpg", "picture.compare.png"}
    assert entry["compare"] == str(tmp_path / "out" / "picture.compare.png")
    with Image.open(entry["output"]) as after, Image.open(entry["compare"]) as both:
        assert after.format == "JPEG"
        assert both.size == (90 + 8 + 90, 70)
        with Image.open(picture_file) as before:
            np.testing.assert_array_equal(np.asarray(both)[:, :90], np.asarray(before))
    assert infer(picture_file, "--compare").code == 0
    assert infer(picture_file, tmp_path / "picture.compare.png", "--compare").code == 2


def test_the_same_format_and_the_same_name(
    infer: Command, picture_file: Path, tmp_path: Path
) -> None:
    with Image.open(picture_file) as image:
        image.save(tmp_path / "picture.jpeg", quality=30)
        image.save(tmp_path / "other.gif")
    out = tmp_path / "out"
    done = infer(tmp_path, "-o", out, "--format", "same", "--quality", "100")
    assert done.code == 0, done.err
    assert files(out) == {"picture.restored.png", "picture.restored.jpeg", "other.restored.png"}
    with Image.open(out / "picture.restored.jpeg") as found:
        assert found.format == "JPEG"
        assert set(found.quantization[0]) == {1}, "the quality that was asked for"
    done = infer(tmp_path, "-o", out)
    assert "note: 2 pictures differ by their endings only" in done.err
    assert files(out) > {"picture.png.restored.png", "picture.jpeg.restored.png"}


def test_tiles(infer: Command, photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    for tile, found in (("128", 128), ("off", None)):
        result = infer(tmp_path / "photo.png", "--backend", "onnxruntime", "--json", "--tile", tile)
        assert json.loads(result.out)["pictures"][0]["tile"] == found


def test_sixteen_bits_from_file_to_file(
    infer: Command, tiny_bundle: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    dark = photo[:64, :64].astype(np.uint16)  # every value would fit into 8 bits
    (tmp_path / "dark.png").write_bytes(png_file(dark))
    result = infer(tmp_path / "dark.png")
    assert result.code == 0, result.err
    assert "note: backend" in result.err
    assert "16 bits" not in result.err
    found = png_samples((tmp_path / "dark.restored.png").read_bytes())
    np.testing.assert_array_equal(found, Restorer.open(tiny_bundle).restore(dark).image)
    assert found.dtype.itemsize == 2


@pytest.mark.parametrize("name", ["[bold]x[red] [b].png", "mit Leerzeichen é雪.png", "-dash.png"])
def test_any_file_name(name: str, infer: Command, picture_file: Path) -> None:
    path = picture_file.rename(picture_file.with_name(name))
    result = infer("--", path)
    assert result.code == 0, result.err
    assert f"{path} -> {path.with_suffix('')}.restored.png" in result.out


def test_a_bug_in_a_picture_is_one_line_and_does_not_end_the_batch(
    infer: Command, picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = images.read

    def failing(path: Path, *arguments: int) -> images.Picture:
        if path.name == "first.png":
            raise ZeroDivisionError("planted")
        return read(path, *arguments)

    first = Path(shutil.copy(picture_file, tmp_path / "first.png"))
    monkeypatch.setattr(images, "read", failing)
    several, alone = infer(first, picture_file), infer(first)
    assert (tmp_path / "picture.restored.png").exists()
    for result in (several, alone):
        assert result.code == 1
        assert "first.png: found ZeroDivisionError: planted; this is a bug" in result.error
        assert "Traceback" not in result.err


def test_unusable_graph_is_a_bundle_error(
    lorair_run: Command, bundle: Bundle, picture_file: Path
) -> None:
    for graph in bundle.path.glob("restorer*.onnx"):
        graph.write_bytes(b"not a graph")
    listed = bundle.manifest.model_copy(update={"files": list_files(bundle.path)})
    write_manifest(bundle.path, listed)
    for backend in ("onnxruntime", "openvino"):
        result = lorair_run("infer", picture_file, "-b", bundle.path, "--backend", backend)
        assert result.code == 2
        assert f"{backend} cannot load" in result.error
    assert files(picture_file.parent) == {"picture.png", "bundle"}


def test_version_and_help(lorair_run: Command) -> None:
    assert lorair_run("--version").out.startswith("lorair ")
    assert "infer" in lorair_run("--help").out
    assert lorair_run().code == 2 or "Usage" in lorair_run().out
    assert lorair_run("infer").code == 2


def test_pictures_that_cost_too_much(
    infer: Command, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "Decoders", partial(pool.Decoders, command=COMMAND))
    bad = picture_file.with_name("bad.png")
    bad.write_text("crash")
    done = infer(bad.parent, "--timeout", 60)
    assert done.code == 1
    assert "bad.png: wanted a picture, found one that ends its decoder" in done.error
    assert bad.with_name("picture.restored.png").exists(), "a folder goes on"
    bad.write_text("hang")
    done = infer(bad, "--timeout", 0.2)
    assert done.code == 2
    assert "bad.png: wanted at most 0.2 s to decode, found no end" in done.error


def test_nothing_is_passed_over_in_silence(
    infer: Command, picture_file: Path, tmp_path: Path
) -> None:
    for name in ("a.nef", "clip.mov"):
        picture_file.with_name(name).write_bytes(picture_file.read_bytes())
    done = infer(tmp_path, "--report", tmp_path / "r.report")
    assert done.code == 0
    words = "1 .mov (a video: lorair-run video restores it), 1 .nef (raw: develop it first)"
    assert f"note: 2 files left out: {words}" in done.err
    report = json.loads((tmp_path / "r.report").read_text())
    assert [entry["status"] for entry in report["pictures"]] == ["restored"]
    assert {Path(entry["input"]).name for entry in report["left_out"]} == {"a.nef", "clip.mov"}
    named = infer(picture_file.with_name("a.nef"))
    assert named.code == 2
    assert "found a camera's raw file; develop it" in named.error
    assert "lorair-run video restores it" in infer(picture_file.with_name("clip.mov")).error
