"""What a bundle's engines/ may hold, read without TensorRT."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_files import add_engine, depends_on

from lorair.runtime.bundle.engines import Depends, Engine, Range, read_engines
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError


@pytest.fixture
def path(bundle: Bundle) -> Path:
    """The bundle's one engine."""
    return add_engine(bundle, "restorer", sms=(86, 120))


def only(bundle: Bundle) -> Engine:
    (engine,) = read_engines(bundle)
    return engine


def test_an_engine_and_what_it_needs(bundle: Bundle) -> None:
    assert read_engines(bundle) == []
    path = add_engine(bundle, "restorer", sms=(86, 120))
    engine = only(bundle)
    assert (engine.path, engine.error) == (path, None)
    assert engine.record is not None
    assert engine.record.depends.needs == (
        "tensorrt-rtx 1.7.1, compute capability 8.6 or 12.0; image 1x3x16x16 to 1x3x96x96"
    )
    assert engine.read() == path.read_bytes()


def test_which_routes_an_engine_serves(bundle: Bundle) -> None:
    classes = bundle.manifest.model.classes
    wanted = {None: "any route", (0, 0, 1): "raindrop", (0.5, 0.5, 0): "snow=0.5,rain=0.5"}
    for gates, words in wanted.items():
        assert depends_on(bundle, "restorer", gates=gates).serves(classes) == words
    assert depends_on(bundle, "router").serves(classes) == "router"


def test_a_bundle_with_engines_still_opens(bundle: Bundle, path: Path) -> None:
    """Even with a damaged one: other backends have no use for it."""
    path.write_bytes(b"")
    Bundle.open(bundle.path).verify()


SHAPE = (1, 3, 16, 16)
CHANGES: list[dict[str, Any]] = [
    {"branch": "router"},
    {"graph": "1" * 64},
    {"weights": "1" * 64},
    {"bodies": "1" * 64},
    {"precision": "fp16"},
    {"flavour": "tensorrt"},
    {"version": "1.7.2"},
    {"recipe": 2},
    {"sms": (86,)},
    {"sms": (86, 120)},
    {"device": "a GPU"},
    {"profile": {}},
    {"profile": {"image": Range(min=SHAPE, opt=(1, 3, 16, 32), max=(1, 3, 96, 96))}},
    {"kernels": "1" * 64},
    {"gates": (0.0, 1.0, 0.0)},
]


def test_every_dependency_changes_the_name_and_nothing_else_does(bundle: Bundle) -> None:
    assert {key for change in CHANGES for key in change} == set(Depends.model_fields)
    first = depends_on(bundle, "restorer")
    names = [first.model_copy(update=change).name for change in ({}, *CHANGES)]
    assert len(set(names)) == len(names)
    assert Depends.model_validate_json(first.model_dump_json()).name == first.name == names[0]


def edit_record(path: Path) -> None:
    record = json.loads(path.with_suffix(".json").read_text())
    record["depends"]["version"] = "1.7.2"
    path.with_suffix(".json").write_text(json.dumps(record))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-1]), r"wanted \d+ bytes, found \d+ bytes"),
    "engine gone": (Path.unlink, "wanted the engine that its record describes, found none"),
    "record gone": (lambda p: p.with_suffix(".json").unlink(), "never finished"),
    "record edited": (edit_record, "wanted the name that its record makes"),
    "record scribbled": (lambda p: p.with_suffix(".json").write_text("{"), "wanted a record as in"),
    "record empty": (lambda p: p.with_suffix(".json").write_text("{}"), "wanted a record as in"),
    "graph": (lambda p: other(p, "graph"), "found another bundle's"),
    "weights": (lambda p: other(p, "weights"), "found another bundle's"),
    "engine linked": (lambda p: link(p), "wanted the engine that its record describes, found none"),
    "record linked": (lambda p: link(p.with_suffix(".json")), "a link or no regular file"),
}


def other(path: Path, file: str) -> None:
    """Put an engine of another bundle in the place."""
    path.unlink()
    path.with_suffix(".json").unlink()
    add_engine(Bundle.open(path.parents[1]), "restorer", **{file: "1" * 64})


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_engine_is_reported_and_never_loaded(
    damage: Any, words: str, bundle: Bundle, path: Path
) -> None:
    damage(path)
    engine = only(bundle)
    assert engine.record is None
    with pytest.raises(BundleError, match=rf"engine {engine.path}: .*{words}.*lorair-export engin"):
        engine.read()


def test_other_content_of_the_same_size_is_never_loaded(bundle: Bundle, path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(BundleError, match="other content"):
        only(bundle).read()


def test_what_is_hidden_or_something_else_is_no_engine(bundle: Bundle, path: Path) -> None:
    for name in (".lock", ".restorer-1.0123.partial.engine", "notes.txt"):
        path.with_name(name).touch()
    assert only(bundle).path == path
