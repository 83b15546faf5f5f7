"""The format of docs/bundle.md, down to its literal keys."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorair import Restorer
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import Bundle, content_digest
from lorair.runtime.errors import BundleError

Changes = dict[str, Any]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def manifest_of(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def rewrite(bundle: Path, **changes: Any) -> None:
    """Change the manifest as somebody would who knows the digest."""
    content = manifest_of(bundle) | changes
    content["digest"] = content_digest(content)
    (bundle / "manifest.json").write_text(json.dumps(content))


def test_literal_keys(tiny_bundle: Path) -> None:
    manifest = manifest_of(tiny_bundle)
    assert list(manifest) == [
        "schema_version",
        "created_by",
        "precision",
        "router_precision",
        "model",
        "files",
        "source",
        "certificate",
        "digest",
    ]
    assert manifest["schema_version"] == 1
    assert manifest["precision"] == "fp32"
    assert manifest["created_by"].startswith("lorair ")
    assert list(manifest["model"]) == [
        "classes",
        "experts",
        "top_k",
        "clip_side",
        "stride",
        "prior",
        "width",
        "restoration",
        "router",
    ]
    assert manifest["model"]["classes"] == ["snow", "rain", "raindrop"]
    assert [manifest["model"][k] for k in ("experts", "top_k", "clip_side", "stride", "prior")] == [
        3,
        1,
        56,
        16,
        384,
    ]
    assert sorted(manifest["files"]) == [
        "restorer.onnx",
        "restorer.onnx.data",
        "restorer.onnxruntime.onnx",
        "restorer.onnxruntime.tiled.onnx",
        "restorer.openvino.onnx",
        "restorer.openvino.tiled.onnx",
        "router.onnx",
        "router.onnx.data",
    ]
    assert list(manifest["files"]["router.onnx"]) == ["sha256", "size"]
    assert list(manifest["source"]) == ["kind", "detail", "ir", "router"]
    assert list(manifest["certificate"]) == [
        "reference",
        "backend",
        "max_error",
        "psnr_db",
        "route_changes",
        "limits",
        "pictures",
        "routes",
    ]
    assert list(manifest["certificate"]["pictures"][0]) == [
        "name",
        "width",
        "height",
        "logits_error",
        "prior_error",
        "restored_error",
        "psnr_db",
        "route_changed",
    ]


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


def test_nothing_but_the_listed_files(tiny_bundle: Path) -> None:
    listed = {*manifest_of(tiny_bundle)["files"], "manifest.json"}
    assert {p.name for p in tiny_bundle.iterdir()} == listed


def test_unknown_keys_are_ignored(bundle: Path) -> None:
    rewrite(bundle, added_later={"by": "someone"})
    assert Bundle.open(bundle).manifest.model.experts == 3


def _no_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def _half_manifest(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:300])


def _list_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("[1, 2]")


def _deep_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("[" * 100_000)


def _changed_manifest(bundle: Path) -> None:
    """One letter of one class."""
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"snow"', b'"snob"'))


def _unlisted_file(bundle: Path) -> None:
    (bundle / "restorer.onnx.data2").write_bytes(b"weights that nobody checked")


def _huge_manifest(bundle: Path) -> None:
    with (bundle / "manifest.json").open("ab") as file:
        file.truncate(2**32)


def _nested_manifest(bundle: Path) -> None:
    """As deep as the JSON reader takes it, which is deeper than it can be written."""
    rewrite(bundle, added="nested")
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"nested"', "[" * 900 + "]" * 900))


def _device(bundle: Path) -> None:
    """Listed with no bytes, and endless for whoever reads it."""
    (bundle / "endless").symlink_to("/dev/zero")
    empty = {"sha256": "0" * 64, "size": 0}
    rewrite(bundle, files=manifest_of(bundle)["files"] | {"endless": empty})


def _pipe(bundle: Path) -> None:
    (bundle / "kernels").mkdir()
    os.mkfifo(bundle / "kernels" / "pipe")
    empty = {"sha256": "0" * 64, "size": 0}
    rewrite(bundle, files=manifest_of(bundle)["files"] | {"kernels/pipe": empty})


def _weights_in(place: str) -> Any:
    """The restorer's weights where the manifest does not list them; the names are as long."""

    def move(bundle: Path) -> None:
        (bundle / place).parent.mkdir(exist_ok=True)
        shutil.copy(bundle / "restorer.onnx.data", bundle / place)
        graph = bundle / "restorer.onnx"
        graph.write_bytes(graph.read_bytes().replace(b"restorer.onnx.data", place.encode()))
        files = {name: info.model_dump() for name, info in list_files(bundle).items()}
        rewrite(bundle, files={name: files[name] for name in manifest_of(bundle)["files"]})

    return move


def _no_weights(bundle: Path) -> None:
    (bundle / "restorer.onnx.data").unlink()


def _short_weights(bundle: Path) -> None:
    path = bundle / "restorer.onnx.data"
    path.write_bytes(path.read_bytes()[:-1])


def _changed_byte(bundle: Path) -> None:
    path = bundle / "router.onnx.data"
    data = bytearray(path.read_bytes())
    data[5000] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_no_manifest, r"wanted manifest\.json, found none"),
        (_half_manifest, r"wanted JSON in manifest\.json"),
        (_list_manifest, "at the top level"),
        (_deep_manifest, r"wanted JSON in manifest\.json"),
        (_changed_manifest, r"manifest\.json as it was built, found other content"),
        (_unlisted_file, r"only files that the manifest lists, found restorer\.onnx\.data2"),
        (_huge_manifest, r"manifest\.json has more than 4194304 bytes"),
        (_nested_manifest, r"manifest\.json"),
        (_device, r"found endless, a link"),
        (_pipe, r"wanted a file kernels/pipe, found none"),
        (_weights_in(".estorer.onnx.data"), r"weights of restorer\.onnx in listed files, found \."),
        (_weights_in("engines/onnx.data."), r"weights of restorer\.onnx in .*, found engines/onnx"),
        (
            _weights_in("../../../onnx.data"),
            r"weights of restorer\.onnx in .*, found \.\./\.\./\.\.",
        ),
        (_no_weights, r"wanted a file restorer\.onnx\.data, found none"),
        (_short_weights, r"restorer\.onnx\.data of \d+ bytes, found \d+ bytes"),
        (_changed_byte, r"router\.onnx\.data as it was built, found other content"),
    ],
)
def test_damage_is_found_on_open(damage: Any, words: str, bundle: Path) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=f"bundle .*: .*{words}.*(build it again|cp -rL)"):
        Bundle.open(bundle)


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
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64, "size": 1}}}, "not a path inside"),
        ({"files": {"/etc/passwd": {"sha256": "0" * 64, "size": 1}}}, "not a path inside"),
        ({"files": {"a//b": {"sha256": "0" * 64, "size": 1}}}, "not a path inside"),
        ({"files": {".data": {"sha256": "0" * 64, "size": 1}}}, "not a path inside"),
        ({"files": {"a\0b": {"sha256": "0" * 64, "size": 1}}}, "not a path inside"),
        ({"files": {"engines/a": {"sha256": "0" * 64, "size": 1}}}, "not a file to be listed"),
        ({"files": {"router.onnx": {"sha256": "0" * 64, "size": -1}}}, r"router\.onnx\.size"),
        ({"files": {"router.onnx": {"sha256": "xyz", "size": 1}}}, r"files\.router\.onnx\.sha256"),
    ],
)
def test_contradictions_are_found_on_open(changes: Changes, words: str, bundle: Path) -> None:
    rewrite(bundle, **changes)
    with pytest.raises(BundleError, match=words):
        Bundle.open(bundle)


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
def test_model_must_agree_with_itself(key: str, value: Any, words: str, bundle: Path) -> None:
    rewrite(bundle, model=manifest_of(bundle)["model"] | {key: value})
    with pytest.raises(BundleError, match=words):
        Bundle.open(bundle)


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
    changes: Changes, words: str, backend: str, bundle: Path
) -> None:
    """It would give a wrong picture, not an error."""
    rewrite(bundle, model=manifest_of(bundle)["model"] | changes)
    # OpenVINO does not keep what the stride is; the manifest's digest guards it there.
    backend = "onnxruntime" if "stride" in changes else backend
    restorer = Restorer.open(bundle, backend)
    for _ in range(2):
        with pytest.raises(BundleError, match=f"is not what the manifest says: wanted .*{words}"):
            restorer.restore(np.zeros((8, 8, 3), np.uint8))


def test_hidden_files_belong_to_the_system(bundle: Path) -> None:
    (bundle / ".DS_Store").touch()
    assert Bundle.open(bundle).manifest.precision == "fp32"


@pytest.mark.parametrize("linked", ["manifest.json", "router.onnx", "restorer.onnx.data", "all"])
def test_links_are_refused_and_links_to_bundles_are_not(bundle: Path, linked: str) -> None:
    (bundle.parent / "link").symlink_to(bundle)
    assert Bundle.open(bundle.parent / "link").manifest.precision == "fp32"
    blobs = bundle.parent / "blobs"
    blobs.mkdir()
    for file in list(bundle.iterdir()) if linked == "all" else [bundle / linked]:
        file.rename(blobs / file.name)
        file.symlink_to(blobs / file.name)
    with pytest.raises(BundleError, match=r"wanted files, not links to them, found .*cp -rL"):
        Bundle.open(bundle)


def test_a_newer_schema_says_upgrade(bundle: Path) -> None:
    rewrite(bundle, schema_version=2, model="something new")
    with pytest.raises(BundleError, match=r"wanted schema version 1 or older, found 2; upgrade"):
        Bundle.open(bundle)


def test_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle at .*found nothing; make one with"):
        Bundle.open(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="found a file"):
        Bundle.open(tmp_path / "file")
