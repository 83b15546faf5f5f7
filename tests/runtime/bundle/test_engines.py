"""What a bundle's engines/ may hold, read without TensorRT."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lorair.runtime.bundle.engines import Depends, EngineRecord, Proof, Range, read_engines
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError

CONTENT = b"what TensorRT wrote" * 10


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    return Bundle.open(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def depends_on(bundle: Bundle, **changes: Any) -> Depends:
    files = bundle.manifest.files
    shape = (1, 3, 16, 16)
    values: dict[str, Any] = {
        "branch": "restorer",
        "graph": files["restorer.onnx"].sha256,
        "weights": files["restorer.onnx.data"].sha256,
        "bodies": "0" * 64,
        "precision": "fp32",
        "flavour": "tensorrt-rtx",
        "version": "1.7.1",
        "recipe": 1,
        "sms": (86, 120),
        "profile": {"image": Range(min=shape, opt=shape, max=(1, 3, 64, 48))},
    }
    return Depends(**values | changes)


def add(bundle: Bundle, depends: Depends) -> Path:
    """Write an engine and its record as the exporter does."""
    path = bundle.path / "engines" / f"{depends.name}.engine"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(CONTENT)
    record = EngineRecord(
        created_by="lorair",
        depends=depends,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        seconds=1.0,
        peak_memory=None,
        proof=Proof(source="a test", products=()),
    )
    path.with_suffix(".json").write_text(record.model_dump_json())
    return path


def test_no_engines(bundle: Bundle) -> None:
    assert read_engines(bundle) == []


def test_an_engine_and_what_it_needs(bundle: Bundle) -> None:
    path = add(bundle, depends_on(bundle))
    (engine,) = read_engines(bundle)
    assert (engine.path, engine.error) == (path, None)
    assert engine.record is not None
    assert engine.record.depends.needs == (
        "tensorrt-rtx 1.7.1, compute capability 8.6 or 12.0; image 1x3x16x16 to 1x3x64x48"
    )
    assert engine.read() == CONTENT


def test_which_routes_an_engine_serves(bundle: Bundle) -> None:
    classes = bundle.manifest.model.classes
    wanted = {None: "any route", (0, 0, 1): "raindrop", (0.5, 0.5, 0): "snow=0.5,rain=0.5"}
    for gates, words in wanted.items():
        assert depends_on(bundle, gates=gates).serves(classes) == words
    assert depends_on(bundle, branch="router").serves(classes) == "router"


def test_a_bundle_with_engines_still_opens(bundle: Bundle) -> None:
    """Even with a damaged one: other backends have no use for it."""
    add(bundle, depends_on(bundle)).write_bytes(b"")
    Bundle.open(bundle.path).verify()


CHANGES: list[dict[str, Any]] = [
    {"branch": "router"},
    {"graph": "1" * 64},
    {"weights": "1" * 64},
    {"bodies": "1" * 64},
    {"bodies": None},
    {"precision": "fp16"},
    {"flavour": "tensorrt"},
    {"version": "1.7.2"},
    {"recipe": 2},
    {"sms": ()},
    {"sms": (86,)},
    {"device": "a GPU"},
    {"profile": {}},
    {"profile": {"image": Range(min=(1, 3, 16, 16), opt=(1, 3, 16, 32), max=(1, 3, 64, 48))}},
    {"kernels": "1" * 64},
    {"gates": (0.0, 1.0, 0.0)},
]


def test_every_dependency_changes_the_name_and_nothing_else_does(bundle: Bundle) -> None:
    assert {key for change in CHANGES for key in change} == set(Depends.model_fields)
    names = [depends_on(bundle, **change).name for change in ({}, *CHANGES)]
    assert len(set(names)) == len(names)
    assert depends_on(bundle).name == names[0]
    stored = Depends.model_validate_json(depends_on(bundle).model_dump_json())
    assert stored.name == names[0]


def cut(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])


def remove_record(path: Path) -> None:
    path.with_suffix(".json").unlink()


def remove_engine(path: Path) -> None:
    path.unlink()


def edit_record(path: Path) -> None:
    record = json.loads(path.with_suffix(".json").read_text())
    record["depends"]["version"] = "1.7.2"
    path.with_suffix(".json").write_text(json.dumps(record))


def scribble_record(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


def empty_record(path: Path) -> None:
    path.with_suffix(".json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "wanted 190 bytes, found 189 bytes"),
        (remove_record, "never finished"),
        (remove_engine, "wanted the engine that its record describes, found none"),
        (edit_record, "wanted the name that its record makes"),
        (scribble_record, "wanted a record as in docs/tensorrt.md"),
        (empty_record, "wanted a record as in docs/tensorrt.md"),
    ],
)
def test_a_damaged_engine_is_reported_and_never_loaded(
    damage: Any, words: str, bundle: Bundle
) -> None:
    path = add(bundle, depends_on(bundle))
    damage(path)
    (engine,) = read_engines(bundle)
    assert engine.record is None
    assert words in str(engine.error)
    assert str(path) in str(engine.error)
    with pytest.raises(BundleError, match="lorair-export engine"):
        engine.read()


def test_other_content_of_the_same_size_is_never_loaded(bundle: Bundle) -> None:
    add(bundle, depends_on(bundle)).write_bytes(bytes(len(CONTENT)))
    (engine,) = read_engines(bundle)
    with pytest.raises(BundleError, match="other content"):
        engine.read()


@pytest.mark.parametrize("file", ["graph", "weights"])
def test_an_engine_of_another_bundle_is_foreign(file: str, bundle: Bundle) -> None:
    add(bundle, depends_on(bundle, **{file: "1" * 64}))
    (engine,) = read_engines(bundle)
    assert "found another bundle's" in str(engine.error)


def test_what_is_hidden_or_something_else_is_no_engine(bundle: Bundle) -> None:
    add(bundle, depends_on(bundle))
    for name in (".lock", ".restorer-1.0123.partial.engine", "notes.txt"):
        (bundle.path / "engines" / name).touch()
    assert len(read_engines(bundle)) == 1


@pytest.mark.parametrize("suffix", [".engine", ".json"])
def test_an_engine_and_its_record_are_files(bundle: Bundle, suffix: str) -> None:
    add(bundle, depends_on(bundle))
    (file,) = (bundle.path / "engines").glob(f"*{suffix}")
    file.unlink()
    file.symlink_to("/dev/zero")
    (engine,) = read_engines(bundle)
    with pytest.raises(BundleError, match="build it again"):
        engine.read()
