import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command import Command
from made_up_decoder import COMMAND
from picture_files import png_file, png_samples
from PIL import Image

from lorair import Restorer
from lorair.runtime.decoding import pool


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_infer_writes_beside_the_input(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path
) -> None:
    result = lorair_run("infer", picture_file, "--bundle", tiny_bundle)
    assert result.code == 0
    target = picture_file.with_name("picture.restored.png")
    with Image.open(target) as image:
        found = np.asarray(image)
    with Image.open(picture_file) as image:
        wanted = Restorer.open(tiny_bundle).restore(np.asarray(image))
    np.testing.assert_array_equal(found, wanted.image)
    assert str(target) in result.out
    assert "90x70" in result.out
    assert wanted.route.summary() in result.out
    for stage in ("decode", "views", "router", "restorer", "encode"):
        assert stage in result.out
    assert files(picture_file.parent) == {"picture.png", "picture.restored.png"}


def test_the_bundle_may_come_from_the_environment(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAIR_BUNDLE", str(tiny_bundle))
    assert lorair_run("infer", picture_file).code == 0


def test_the_default_bundle_is_in_the_current_folder(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture_file.parent)
    monkeypatch.delenv("LORAIR_BUNDLE", raising=False)
    shipped = lorair_run("infer", picture_file)
    assert (shipped.code, "default model" in shipped.error) == (0, True)
    named = lorair_run("infer", picture_file, "--bundle", "lorair-bundle")
    assert named.code == 2
    assert "no bundle at lorair-bundle" in named.error
    (picture_file.parent / "lorair-bundle").symlink_to(tiny_bundle)
    found = lorair_run("infer", picture_file)
    assert (found.code, "default model" in found.error) == (0, False)
    assert "default model" in lorair_run("infer", picture_file, "-b", "default").error


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


def test_json_and_report_say_the_same(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    report = tmp_path / "reports" / "run.json"
    result = lorair_run("infer", picture_file, "-b", tiny_bundle, "--json", "--report", report)
    document = json.loads(result.out)
    assert json.loads(report.read_text()) == document
    (picture,) = document["pictures"]
    assert (picture["width"], picture["height"]) == (90, 70)
    assert sum(picture["route"]["gates"].values()) == pytest.approx(1)
    assert set(picture["seconds"]) >= {"decode", "views", "router", "restorer", "encode"}
    assert "onnxruntime" in document["backend"]


def test_several_pictures_go_into_a_folder(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jpg"
    Image.open(picture_file).save(other)
    out = tmp_path / "out"
    assert lorair_run("infer", picture_file, other, "-b", tiny_bundle, "-o", out).code == 0
    assert files(out) == {"picture.restored.png", "other.restored.png"}


def test_one_bad_file_of_several_is_exit_code_1(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    arguments = ("-b", tiny_bundle, "--report", tmp_path / "r.json")
    result = lorair_run("infer", tmp_path / "bad.png", picture_file, *arguments)
    assert result.code == 1
    assert "bad.png" in result.err
    assert (tmp_path / "picture.restored.png").exists()
    bad, good = json.loads((tmp_path / "r.json").read_text())["pictures"]
    assert "error" in bad
    assert "error" not in good
    everything_bad = lorair_run("infer", tmp_path / "bad.png", tmp_path / "none.png", *arguments)
    assert everything_bad.code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{dir}/none.png",), "none.png: wanted a picture, found no such file"),
        (("{dir}/empty.png",), "empty.png: wanted a picture"),
        (("{dir}/picture.png", "-o", "{dir}/picture.png"), "an output that is no input"),
        (("{dir}/picture.png", "-o", "{dir}/../{name}/picture.png"), "an output that is no input"),
        (("{dir}/picture.png", "-o", "{dir}/link.png"), "an output that is no input"),
        (("{dir}/picture.png", "-o", "{dir}/out.xyz"), "wanted one of the endings"),
        (("{dir}/picture.png", "-o", "{dir}/empty.png/out.png"), "wanted a folder"),
        (("{dir}/picture.png", "-o", "/proc/none/out.png"), "cannot write /proc/none/out.png"),
        (("{dir}/picture.png", "{dir}/picture.png"), "no other picture's output"),
        (("{dir}/picture.png", "{dir}/x.png", "-o", "{dir}/empty.png"), "wanted a folder"),
        (("{dir}/picture.png", "--max-pixels", "100"), "at most 0.0001 megapixels, found 90x70"),
        (
            ("{dir}/picture.png", "--backend", "abacus"),
            "wanted auto or one of tensorrt-rtx",
        ),
        (("{dir}/picture.png", "--report", "{dir}/empty.png/r.json"), "wanted a folder"),
        (("{dir}/picture.png", "--report", "{dir}/picture.png"), "an input or output of this run"),
        (("{dir}/picture.png", "--report", "{dir}/picture.restored.png"), "an input or output"),
        (("{dir}/picture.png", "--report", "{bundle}/manifest.json"), "an input or output of this"),
        (("{dir}/picture.png", "--report", "{dir}"), "wanted a file, found a folder"),
        (("{dir}/picture.png", "--threads", "100000"), "wanted 1 to 1024"),
        (("{dir}/picture.png", "--quality", "80"), "--quality: wanted a lossy format"),
        (("{dir}/picture.png", "--format", "gif"), "--format: wanted one of png, jpg"),
        (("{dir}/picture.png", "--format", "jpg", "-o", "{dir}/x.png"), "found jpg; leave"),
        (
            (
                "{dir}/picture.png",
                "--compare",
                "-o",
                "{dir}/picture.compare.png.png",
                "--report",
                "{dir}/picture.compare.png.compare.png",
            ),
            "an input or output of this run",
        ),
        (("{dir}/hollow",), "nothing to restore in"),
        (("{dir}", "--glob", "*.jpg"), "wanted *.jpg, found none"),
        (("",), "INPUT: wanted a path, found an empty text"),
        (("{dir}/picture.png", "--expert", "fog"), "--expert: wanted one of snow, rain, raindrop"),
        (("{dir}/picture.png", "--gates", "rain=0.5"), "shares that sum to 1, found 0.5"),
        (("{dir}/picture.png", "--expert", "rain", "--gates", "rain=1"), "no --gates beside it"),
        (("{dir}/picture.png", "--route", "{dir}/picture.png"), "cannot read the route"),
        (("{dir}/picture.png", "--route", "x", "--route-from", "first"), "no --route beside it"),
        (("{dir}/picture.png", "--route-from", "0"), "first, each, or a number from 1"),
        (("{dir}/picture.png", "--jobs", "0"), "jobs: wanted 1 to 1024"),
        (("{dir}/picture.png", "-o", "{dir}/empty"), "wanted a folder, found the file"),
        (("{dir}/pic[/b].png",), "pic[/b].png: wanted a picture, found no such file"),
    ],
)
def test_mistakes_change_nothing(
    arguments: tuple[str, ...],
    words: str,
    lorair_run: Command,
    tiny_bundle: Path,
    picture_file: Path,
) -> None:
    folder = picture_file.parent
    (folder / "empty.png").touch()
    (folder / "empty").touch()
    (folder / "hollow").mkdir()
    (folder / "link.png").symlink_to(picture_file)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    filled = [a.format(dir=folder, name=folder.name, bundle=tiny_bundle) for a in arguments]
    result = lorair_run("infer", "--bundle", tiny_bundle, *filled)
    assert result.code == 2
    assert words in result.error
    assert result.error.startswith("error: ")
    assert "Traceback" not in result.err
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_a_name_without_ending_is_a_folder(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    assert lorair_run("infer", picture_file, "-b", tiny_bundle, "-o", tmp_path / "out").code == 0
    assert files(tmp_path / "out") == {"picture.restored.png"}


def test_format_quality_and_comparison(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    options = ("--format", "jpg", "--quality", "60", "--compare", "--json", "-o", tmp_path / "out")
    result = lorair_run("infer", picture_file, "-b", tiny_bundle, *options)
    assert result.code == 0, result.err
    (entry,) = json.loads(result.out)["pictures"]
    assert files(tmp_path / "out") == {"picture.restored.jpg", "picture.compare.png"}
    assert entry["compare"] == str(tmp_path / "out" / "picture.compare.png")
    with Image.open(entry["output"]) as after, Image.open(entry["compare"]) as both:
        assert after.format == "JPEG"
        assert both.size == (90 + 8 + 90, 70)
        with Image.open(picture_file) as before:
            np.testing.assert_array_equal(np.asarray(both)[:, :90], np.asarray(before))
    assert lorair_run("infer", picture_file, "-b", tiny_bundle, "--compare").code == 0
    again = lorair_run("infer", picture_file, tmp_path / "picture.compare.png", "--compare")
    assert again.code == 2


def test_sixteen_bits_from_file_to_file(
    lorair_run: Command, tiny_bundle: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    dark = photo[:64, :64].astype(np.uint16)  # every value would fit into 8 bits
    (tmp_path / "dark.png").write_bytes(png_file(dark))
    result = lorair_run("infer", tmp_path / "dark.png", "-b", tiny_bundle)
    assert result.code == 0, result.err
    assert "note: backend" in result.err
    assert "16 bits" not in result.err
    found = png_samples((tmp_path / "dark.restored.png").read_bytes())
    np.testing.assert_array_equal(found, Restorer.open(tiny_bundle).restore(dark).image)
    assert found.dtype.itemsize == 2


@pytest.mark.parametrize("name", ["[bold]x[red] [b].png", "mit Leerzeichen é雪.png", "-dash.png"])
def test_any_file_name(
    name: str, lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    path = picture_file.rename(tmp_path / name)
    result = lorair_run("infer", "-b", tiny_bundle, "--", path)
    assert result.code == 0, result.err
    assert f"{path} -> {path.with_suffix('')}.restored.png" in result.out


def test_a_bug_in_one_picture_does_not_end_the_batch(
    lorair_run: Command,
    tiny_bundle: Path,
    picture_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lorair.runtime import images

    read = images.read

    def failing(path: Path, *arguments: int) -> images.Picture:
        if path.name == "first.png":
            raise ZeroDivisionError("planted")
        return read(path, *arguments)

    shutil.copy(picture_file, tmp_path / "first.png")
    monkeypatch.setattr(images, "read", failing)
    result = lorair_run("infer", tmp_path / "first.png", picture_file, "-b", tiny_bundle)
    assert result.code == 1
    assert "first.png: found ZeroDivisionError: planted" in result.err
    assert (tmp_path / "picture.restored.png").exists()


def test_unusable_graph_is_a_bundle_error(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, tmp_path: Path
) -> None:
    from lorair.runtime.bundle.files import list_files
    from lorair.runtime.bundle.manifest import Bundle, write_manifest

    broken = tmp_path / "broken"
    shutil.copytree(tiny_bundle, broken)
    for graph in broken.glob("restorer*.onnx"):
        graph.write_bytes(b"not a graph")
    manifest = Bundle.open(tiny_bundle).manifest
    write_manifest(broken, manifest.model_copy(update={"files": list_files(broken)}))
    for backend in ("onnxruntime", "openvino"):
        result = lorair_run("infer", picture_file, "-b", broken, "--backend", backend)
        assert result.code == 2
        assert f"{backend} cannot load" in result.error
    assert files(picture_file.parent) == {"picture.png", "broken"}


def test_a_bug_is_one_line_and_exit_code_1(
    lorair_run: Command, tiny_bundle: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("lorair.runtime.restorer.make_views", explode)
    result = lorair_run("infer", picture_file, "-b", tiny_bundle)
    assert result.code == 1
    assert result.error.endswith("picture.png: found ZeroDivisionError: planted; this is a bug")
    assert "Traceback" not in result.err


def test_version_and_help(lorair_run: Command) -> None:
    assert lorair_run("--version").out.startswith("lorair ")
    assert "infer" in lorair_run("--help").out
    assert lorair_run().code == 2 or "Usage" in lorair_run().out
    assert lorair_run("infer").code == 2


@pytest.fixture
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "Decoders", partial(pool.Decoders, command=COMMAND))


@pytest.mark.usefixtures("_made_up")
def test_a_folder_goes_on(lorair_run: Command, tiny_bundle: Path, picture_file: Path) -> None:
    folder = picture_file.parent
    (folder / "bad.png").write_text("crash")
    done = lorair_run("infer", folder, "-b", tiny_bundle, "--timeout", 60)
    assert done.code == 1
    assert "bad.png: wanted a picture, found one that ends its decoder" in done.error
    assert (folder / "picture.restored.png").exists()


@pytest.mark.usefixtures("_made_up")
def test_a_picture_that_takes_too_long(
    lorair_run: Command, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("hang")
    done = lorair_run("infer", tmp_path / "bad.png", "-b", tiny_bundle, "--timeout", 0.2)
    assert done.code == 2
    assert "bad.png: wanted at most 0.2 s to decode, found no end" in done.error
    assert "--timeout" in lorair_run("infer", tmp_path, "-b", tiny_bundle, "--timeout", 0).error
