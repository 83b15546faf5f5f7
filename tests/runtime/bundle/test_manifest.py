"""The format of docs/bundle.md, down to its literal keys."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorair import Restorer
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import Bundle, content_digest
from lorair.runtime.errors import BundleError

Changes = dict[str, Any]
Damage = Callable[[Path], Any]


@pytest.fixture
def folder(bundle: Bundle) -> Path:
    """A copy that may be damaged."""
    return bundle.path


def manifest_of(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def rewrite(bundle: Path, **changes: Any) -> None:
    """Change the manifest as somebody would who knows the digest."""
    content = manifest_of(bundle) | changes
    content["digest"] = content_digest(content)
    (bundle / "manifest.json").write_text(json.dumps(content))


KEYS = {
    "": "schema_version created_by precision router_precision model files source certificate "
    "digest",
    "model": "classes experts top_k clip_side stride prior width unchanged restoration router",
    "source": "kind detail repo revision ir router added",
    "certificate": "reference backend max_error psnr_db route_changes limits pictures routes",
}
FILES = (
    "restorer.onnx restorer.onnx.data restorer.onnxruntime.onnx restorer.onnxruntime.tiled.onnx "
    "restorer.openvino.onnx restorer.openvino.tiled.onnx restorer.webgpu.tiled.onnx router.onnx "
    "router.onnx.data"
)
PICTURE = "name width height logits_error prior_error restored_error psnr_db route_changed"
MODEL = {"experts": 3, "top_k": 1, "clip_side": 56, "stride": 16, "prior": 384}


def test_literal_keys(tiny_bundle: Path) -> None:
    manifest = manifest_of(tiny_bundle)
    for part, keys in KEYS.items():
        assert list(manifest[part] if part else manifest) == keys.split()
    assert (manifest["schema_version"], manifest["precision"]) == (1, "fp32")
    assert manifest["created_by"].startswith("lorair ")
    assert manifest["model"]["classes"] == ["snow", "rain", "raindrop"]
    assert {key: manifest["model"][key] for key in MODEL} == MODEL
    assert sorted(manifest["files"]) == FILES.split()
    assert list(manifest["files"]["router.onnx"]) == ["sha256", "size"]
    assert list(manifest["certificate"]["pictures"][0]) == PICTURE.split()
    listed = {*manifest["files"], "manifest.json"}
    assert {p.name for p in tiny_bundle.iterdir()} == listed, "nothing but the listed files"


def test_every_key_is_documented(tiny_bundle: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "bundle.md").read_text()

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value)) if value else set()
        if not isinstance(value, dict):
            return set()
        return set(value) | set().union(*map(keys, value.values()))

    manifest = manifest_of(tiny_bundle)
    manifest["model"] |= {"restoration": {}, "router": {}}
    manifest["files"] = list(manifest["files"].values())
    for key in keys(manifest):
        assert f"`{key}`" in text, f"{key} is not in docs/bundle.md"


def test_unknown_keys_and_hidden_files_are_ignored(folder: Path) -> None:
    rewrite(folder, added_later={"by": "someone"})
    (folder / ".DS_Store").touch()
    assert Bundle.open(folder).manifest.model.experts == 3


def edit(name: str, change: Callable[[bytes], bytes]) -> Damage:
    """Change a file's content."""
    return lambda bundle: (bundle / name).write_bytes(change((bundle / name).read_bytes()))


def replaced(content: bytes) -> Damage:
    return edit("manifest.json", lambda _: content)


def _huge_manifest(bundle: Path) -> None:
    with (bundle / "manifest.json").open("ab") as file:
        file.truncate(2**32)


def _nested_manifest(bundle: Path) -> None:
    """As deep as the JSON reader takes it, which is deeper than it can be written."""
    rewrite(bundle, added="nested")
    edit("manifest.json", lambda c: c.replace(b'"nested"', b"[" * 900 + b"]" * 900))(bundle)


def _listed_as_empty(name: str, make: Damage) -> Damage:
    """List with no bytes what is endless for whoever reads it."""

    def damage(bundle: Path) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        make(bundle / name)
        empty = {"sha256": "0" * 64, "size": 0}
        rewrite(bundle, files=manifest_of(bundle)["files"] | {name: empty})

    return damage


def _weights_in(place: str) -> Damage:
    """The restorer's weights where the manifest does not list them; the names are as long."""

    def move(bundle: Path) -> None:
        (bundle / place).parent.mkdir(exist_ok=True)
        shutil.copy(bundle / "restorer.onnx.data", bundle / place)
        edit("restorer.onnx", lambda c: c.replace(b"restorer.onnx.data", place.encode()))(bundle)
        files = {name: info.model_dump() for name, info in list_files(bundle).items()}
        rewrite(bundle, files={name: files[name] for name in manifest_of(bundle)["files"]})

    return move


def _changed_byte(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 0x10]) + data[5001:]


DAMAGES: list[tuple[Damage, str]] = [
    (lambda b: (b / "manifest.json").unlink(), r"wanted manifest\.json, found none"),
    (edit("manifest.json", lambda c: c[:300]), r"wanted JSON in manifest\.json"),
    (replaced(b"[1, 2]"), "at the top level"),
    (replaced(b"[" * 100_000), r"wanted JSON in manifest\.json"),
    (edit("manifest.json", lambda c: c.replace(b'"snow"', b'"snob"')), "found other content"),
    (lambda b: (b / "more.data").touch(), r"files that the manifest lists, found more\.data"),
    (_huge_manifest, r"manifest\.json has more than 1048576 bytes"),
    (_nested_manifest, r"manifest\.json"),
    (_listed_as_empty("endless", lambda p: p.symlink_to("/dev/zero")), "found endless, a link"),
    (_listed_as_empty("kernels/pipe", os.mkfifo), "wanted a file kernels/pipe, found none"),
    (_weights_in(".estorer.onnx.data"), r"weights of restorer\.onnx in listed files, found \."),
    (_weights_in("engines/onnx.data."), r"weights of restorer\.onnx in .*, found engines/onnx"),
    (_weights_in("../../../onnx.data"), r"weights of restorer\.onnx in .*, found \.\./\.\./\.\."),
    (lambda b: (b / "restorer.onnx.data").unlink(), r"file restorer\.onnx\.data, found none"),
    (edit("restorer.onnx.data", lambda c: c[:-1]), r"onnx\.data of \d+ bytes, found \d+ bytes"),
    (edit("router.onnx.data", _changed_byte), r"onnx\.data as it was built, found other content"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_damage_is_found_on_open(damage: Damage, words: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(BundleError, match=f"bundle .*: .*{words}.*(build it again|cp -rL)"):
        Bundle.open(folder)


def listed(name: str, sha256: str = "0" * 64, size: int = 1) -> dict[str, Any]:
    return {"files": {name: {"sha256": sha256, "size": size}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp8"}, "at precision"),
        ({"schema_version": 0}, "at schema_version"),
        ({"schema_version": "one"}, "at schema_version"),
        ({"schema_version": "1"}, "at schema_version"),
        ({"schema_version": "2"}, "at schema_version"),
        ({"schema_version": True}, "at schema_version"),
        ({"model": {}}, r"at model\.classes"),
        ({"files": {}}, r"router\.onnx is missing"),
        (listed("../../etc/passwd"), "not a path inside"),
        (listed("/etc/passwd"), "not a path inside"),
        (listed("a//b"), "not a path inside"),
        (listed(".data"), "not a path inside"),
        (listed("a\0b"), "not a path inside"),
        (listed("engines/a"), "not a file to be listed"),
        (listed("router.onnx", size=-1), r"router\.onnx\.size"),
        (listed("router.onnx", "xyz"), r"files\.router\.onnx\.sha256"),
    ],
)
def test_contradictions_are_found_on_open(changes: Changes, words: str, folder: Path) -> None:
    rewrite(folder, **changes)
    with pytest.raises(BundleError, match=words):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("classes", ["a"], "3 experts but 1 classes"),
        ("top_k", 4, "top_k 4 of 3"),
        ("stride", 0, "stride"),
        ("stride", 2**31, "stride"),
        ("clip_side", 10**30, "clip_side"),
        ("prior", 2**31, "prior"),
        ("width", 1e300, "width"),
        ("classes", ["a", "b", "\x1b[31m"], r"class '\\x1b\[31m' cannot be printed"),
    ],
)
def test_model_must_agree_with_itself(key: str, value: Any, words: str, folder: Path) -> None:
    rewrite(folder, model=manifest_of(folder)["model"] | {key: value})
    with pytest.raises(BundleError, match=words):
        Bundle.open(folder)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stride": 48}, "48"),
        ({"prior": 5}, r"'prior': \[.*5\]"),
        ({"experts": 2, "classes": ["a", "b"]}, r"'gates': \[.*2\]"),
        ({"clip_side": 100}, "100, 100"),
    ],
)
def test_a_manifest_of_another_network(
    changes: Changes, words: str, backend: str, folder: Path
) -> None:
    """It would give a wrong picture, not an error."""
    rewrite(folder, model=manifest_of(folder)["model"] | changes)
    # OpenVINO does not keep what the stride is; the manifest's digest guards it there.
    backend = "onnxruntime" if "stride" in changes else backend
    restorer = Restorer.open(folder, backend)
    for _ in range(2):
        with pytest.raises(BundleError, match=f"is not what the manifest says: wanted .*{words}"):
            restorer.restore(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("linked", ["manifest.json", "router.onnx", "restorer.onnx.data", "all"])
def test_links_are_refused_and_links_to_bundles_are_not(folder: Path, linked: str) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert Bundle.open(folder.parent / "link").manifest.precision == "fp32"
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for file in list(folder.iterdir()) if linked == "all" else [folder / linked]:
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    with pytest.raises(BundleError, match=r"wanted files, not links to them, found .*cp -rL"):
        Bundle.open(folder)


def test_a_newer_schema_says_upgrade(folder: Path) -> None:
    rewrite(folder, schema_version=2, model="something new")
    with pytest.raises(BundleError, match=r"wanted schema version 1 or older, found 2; upgrade"):
        Bundle.open(folder)


def test_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*found nothing; check the path"):
        Bundle.open(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="found a file"):
        Bundle.open(tmp_path / "file")
