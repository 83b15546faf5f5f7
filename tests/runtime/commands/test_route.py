"""Routes: shown, saved, used again, overridden."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

from lorair import Restorer, Route
from lorair.runtime.errors import RouteError
from lorair.runtime.routing.file import load, save
from lorair.runtime.routing.route import UNSURE


@pytest.fixture(scope="module")
def restorer(tiny_bundle: Path) -> Restorer:
    return Restorer.open(tiny_bundle, "onnxruntime")


@pytest.fixture
def pixels(picture_file: Path) -> np.ndarray:
    return pixels_of(picture_file)


@pytest.fixture
def route_command(lorair_run: Command, tiny_bundle: Path) -> Command:
    return partial(lorair_run, "route", "-b", tiny_bundle)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_route_shows_and_saves(
    route_command: Command, picture_file: Path, pixels: Any, restorer: Restorer, tmp_path: Path
) -> None:
    route, target = restorer.route(pixels), tmp_path / "r.route.json"
    shown = route_command(picture_file, "-o", target)
    assert shown.code == 0
    exact = np.exp(route.logits.astype(float)) / np.exp(route.logits.astype(float)).sum()
    for word in (str(target), *route.classes, *(f"{probability:.3f}" for probability in exact)):
        assert word in shown.out
    (entry,) = json.loads(route_command(picture_file, "--json").out)["pictures"]
    assert entry["class"] == route.top
    two = np.sort(exact)[-2:]
    assert entry["margin"] == pytest.approx(two[1] - two[0], abs=1e-5)
    assert load(target, restorer.bundle).top == route.top


def test_several_routes_go_into_a_folder_and_one_bad_ends_nothing(
    route_command: Command, picture_file: Path, tmp_path: Path
) -> None:
    result = route_command(tmp_path / "none.png", picture_file, "-o", tmp_path / "out")
    assert result.code == 1
    assert "none.png: wanted a picture" in result.error
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["picture.route.json"]
    over = route_command(picture_file, "-o", picture_file)
    assert (over.code, "an input or output" in over.error) == (2, True)


def test_a_folder(route_command: Command, picture_file: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("deep/a.png", "deep/a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(picture_file.read_bytes())
    out = tmp_path / "out"
    done = route_command(tmp_path, "-r", "-o", out)
    assert done.code == 0, done.err
    assert "1 file left out: 1 .txt (no picture)" in done.err
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.json")}
    names = {"picture.route.json", "deep/a.png.route.json", "deep/a.jpg.route.json"}
    assert found == names
    (one,) = json.loads(route_command(tmp_path, "--json", "--glob", "p*.png").out)["pictures"]
    assert one["input"] == str(picture_file)


@pytest.mark.parametrize("how", ["--route", "--expert", "--gates", "--route --gates"])
def test_a_chosen_route_gives_what_the_restorer_gives(
    how: str, infer: Command, picture_file: Path, pixels: Any, photo: Any, restorer: Restorer
) -> None:
    other = restorer.route(np.ascontiguousarray(photo[100:180, :100]))
    saved = picture_file.with_name("other.route.json")
    save(saved, other, restorer.bundle, "other")
    wanted = restorer.route(pixels) if "--route" not in how else other
    options: list[Any] = ["--route", saved] if "--route" in how else []
    if "--expert" in how:
        options += ["--expert", wanted.classes[1]]
        wanted = wanted.with_gates(np.array([0, 1, 0], np.float32))
    if "--gates" in how:
        options += ["--gates", f"{wanted.classes[2]}=0.6,{wanted.classes[0]}=0.4"]
        wanted = wanted.with_gates(np.array([0.4, 0, 0.6], np.float32))
    assert infer(picture_file, "--backend", "onnxruntime", *options).code == 0
    # A restorer of its own: the first gates are bound, here as there.
    exact = Restorer.open(restorer.bundle.path, "onnxruntime").restore(pixels, wanted).image
    found = pixels_of(picture_file.with_name("picture.restored.png"))
    np.testing.assert_array_equal(found, exact)


def test_a_saved_route_reads_back_to_the_bit_and_needs_no_router(
    infer: Command, picture_file: Path, pixels: Any, restorer: Restorer, monkeypatch: Any
) -> None:
    route, file = restorer.route(pixels), picture_file.with_name("r.json")
    save(file, route, restorer.bundle, "picture.png")
    found = load(file, restorer.bundle)
    for name in ("logits", "gates", "prior"):
        assert getattr(found, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(found, name), getattr(route, name))
    assert found.classes == route.classes
    monkeypatch.setattr("lorair.runtime.restorer.make_views", None)
    assert infer(picture_file).code == 1
    assert infer(picture_file, "--route", file).code == 0


CHANGES = {
    "not JSON": (None, "cannot read the route"),
    "newer": ({"schema_version": 2}, "Input should be 1 at schema_version"),
    "another router": ({"router": "0" * 64}, "wanted a route by the router of"),
    "other classes": ({"classes": ["a", "b", "c"]}, "another's, for a, b, c"),
    "a shorter prior": ({"prior": [1.0]}, "wanted a route by the router of"),
    "a class too few": ({"classes": ["a"]}, "differ in number"),
    "no number": ({"logits": [1, 2, "nan"]}, "finite number at logits"),
    "half the gates": ({"gates": [0.5, 0, 0]}, "do not sum to 1"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_other_files_are_refused(
    change: dict[str, Any] | None, words: str, restorer: Restorer, tmp_path: Path
) -> None:
    bundle, path = restorer.bundle, tmp_path / "r.json"
    model, gates = bundle.manifest.model, np.array([1, 0, 0], np.float32)
    save(path, Route(gates, gates, np.zeros(model.prior, np.float32), model.classes), bundle, "x")
    assert load(path, bundle).top == model.classes[0]
    content = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps(content | change))
    with pytest.raises(RouteError, match=words):
        load(path, bundle)


def route_of(*logits: float) -> Route:
    gates = np.eye(len(logits), dtype=np.float32)[int(np.argmax(logits))]
    names = ("snow", "rain", "raindrop")[: len(logits)]
    return Route(np.array(logits, np.float32), gates, np.zeros(4, np.float32), names)


def test_doubts() -> None:
    close = route_of(1.0, 0.0, 0.9)
    (doubt,) = close.doubts()
    assert "unsure: snow or raindrop" in doubt
    assert close.is_unsure
    assert close.with_gates(np.array([0, 1, 0], np.float32)).doubts() == ()
    sure = route_of(3.0, 0.0, 0.0)
    probabilities = np.exp([3.0, 0.0, 0.0]) / np.exp([3.0, 0.0, 0.0]).sum()
    assert sure.margin == pytest.approx(probabilities[0] - probabilities[1], abs=1e-6)
    assert sure.doubts() == ()
    assert route_of(5.0).margin == 1
    edge = np.log((1 + UNSURE) / (1 - UNSURE))  # of two classes
    assert route_of(edge - 0.01, 0.0).is_unsure
    assert not route_of(edge + 0.01, 0.0).is_unsure
