"""Experts added to bundles and taken away again, on the default model and in released names."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command import Command
from onnx.helper import make_graph, make_model
from onnx.numpy_helper import from_array
from torch import Tensor

from lorair.exporter import build, demo, experts, photos
from lorair.exporter.checkpoint.bundled import read_networks
from lorair.exporter.checkpoint.checkpoint import Pair, load_restorer
from lorair.exporter.checkpoint.weights_file import read_tensors
from lorair.exporter.experts import add_expert, read_parts, remove_expert
from lorair.exporter.graphs.quantize import quantize_router
from lorair.exporter.model.fold import fold
from lorair.exporter.verify.certificate import make_references
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.bundle.files import list_files
from lorair.runtime.bundle.manifest import (
    Bundle,
    Manifest,
    Source,
    content_digest,
    write_manifest,
)
from lorair.runtime.errors import BundleError

Tensors = Mapping[str, Tensor]
Files = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _one_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates are tested in tests/exporter/verify."""
    (coffee,) = (path for path in photos.paths() if path.name == "coffee.jpg")
    monkeypatch.setattr(photos, "paths", lambda: [coffee])


def with_new_expert(ir: Tensors, rank: int, *, alone: bool) -> dict[str, Tensor]:
    """A network with drawn matrices for one expert more, or for that one alone."""
    generator, out = torch.Generator().manual_seed(3), dict(ir)
    for name, tensor in ir.items():
        if name.endswith(("lora_A_list", "lora_B_list")):
            k = ir[f"{name.rpartition('.')[0]}.conv.weight"].shape[-1]
            _, rows, columns = tensor.shape
            shape = (rank * k, columns) if name.endswith("A_list") else (rows, rank * k)
            new = 0.03 * torch.randn(1, *shape, generator=generator)
            out[name] = new if alone else torch.cat([tensor, new])
    return out


def with_new_class(router: Tensors) -> dict[str, Tensor]:
    """Its logit is below all others, but above where the views are dark."""
    head = router["cls_head.weight"]
    out = {**router, "cls_head.weight": torch.cat([head, 0.01 * head[:1].flip(1)])}
    low = torch.tensor([-2.0], dtype=head.dtype)
    return {**out, "cls_head.bias": torch.cat([router["cls_head.bias"], low])}


def write(folder: Path, ir: Tensors, router: Tensors) -> Files:
    files = folder / "new_ir.pth", folder / "new_router.pth"
    for path, tensors in zip(files, (ir, router), strict=True):
        torch.save({"params": dict(tensors)}, path)
    return files


def options(files: Files, name: str = "haze") -> tuple[object, ...]:
    return "--ir-weights", files[0], "--router-weights", files[1], "--take", name


def contents(bundle: Path) -> dict[str, bytes]:
    """Of all graphs and weights; the manifest says how the bundle was made."""
    files = (path for path in bundle.iterdir() if path.name != "manifest.json")
    return {path.name: path.read_bytes() for path in files}


def restored(bundle: Path, gates: np.ndarray, image: Tensor, prior: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(bundle / "restorer.onnx")
    inputs = {"image": image.numpy(), "prior": prior.numpy(), "gates": gates.astype(np.float32)}
    result: np.ndarray = session.run(None, inputs)[0]
    return result


@pytest.mark.tools
def test_the_default_model_gets_an_expert_of_a_higher_rank_and_loses_it(
    lorair_export: Command, tmp_path: Path
) -> None:
    ir, router = map(read_tensors, demo.paths())
    files = write(tmp_path, with_new_expert(ir, 24, alone=True), with_new_class(router))
    path = tmp_path / "bundle"
    done = lorair_export("expert", "add", "default", *options(files), "-o", path)
    assert done.code == 0, done.err
    assert "snow, rain, raindrop, clean, haze; top 1" in done.out

    listed = [
        json.loads(lorair_export("expert", "list", p, "--json").out) for p in (path, "default")
    ]
    assert listed[0]["shared"] == listed[1]["shared"]
    assert listed[0]["experts"][:4] == listed[1]["experts"]
    assert [e["rank"] for e in listed[0]["experts"]] == [16, 16, 16, 16, 24]
    assert "shared weights" in lorair_export("expert", "list", path).out

    generator = torch.Generator().manual_seed(1)
    image, prior = torch.rand(1, 3, 48, 32, generator=generator), torch.rand(1, 128)
    new = restored(path, np.eye(5)[4], image, prior)
    with torch.no_grad():
        wanted = load_restorer(files[0])[1](image, prior, torch.ones(1)).numpy()
    np.testing.assert_allclose(new, wanted, atol=1e-5)
    assert np.abs(new - restored(path, np.eye(5)[1], image, prior)).max() > 1e-3
    for expert in range(4):
        before, after = (
            restored(p, np.eye(e)[expert], image, prior)
            for p, e in ((SHIPPED_BUNDLE, 4), (path, 5))
        )
        np.testing.assert_allclose(after, before, atol=1e-6)

    done = lorair_export("expert", "remove", path, "haze", "--json")
    assert done.code == 0, done.err
    manifest = json.loads(done.out)
    assert manifest["certificate"]["pictures"][0]["name"] == "coffee.jpg"
    assert manifest["source"]["detail"].endswith("; without haze")
    model = Bundle.open("default").manifest.model.model_dump(mode="json")
    net = load_restorer(demo.paths()[0])[1]
    assert manifest["model"] == model | {"unchanged": list(net.unchanged(demo.CLASSES))}
    assert contents(path) == contents(SHIPPED_BUNDLE), "bit for bit"


@pytest.fixture
def _no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bundles get graphs without nodes: an export takes ten seconds, and is tested above."""

    def write(config: Any, prepare: Any, source: Source, output: Path, **options: Any) -> Manifest:
        modules, _ = prepare()
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        for name, module in zip(("router", "restorer"), modules, strict=True):
            tensors = [from_array(t.numpy(), key) for key, t in module.state_dict().items()]
            model = make_model(make_graph([], name, [], [], tensors))
            place = f"{name}.onnx.data"
            onnx.save(model, output / f"{name}.onnx", save_as_external_data=True, location=place)
        manifest = Manifest(
            created_by="a test",
            precision=options["precision"],
            router_precision="int8" if options["router_int8"] else None,
            model=build._model_info(config, (), options["ranks"]),
            files=list_files(output),
            source=source,
        )
        write_manifest(output, manifest)
        return manifest

    monkeypatch.setattr(experts, "make_references", lambda *_: [])
    monkeypatch.setattr(experts, "write_bundle", write)


@pytest.mark.usefixtures("_no_export")
def test_released_names_and_a_lower_rank(
    tiny_pair: Pair, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has experts of its own, of which one is taken; the bundle is replaced."""
    ir = with_new_expert(with_new_expert(tiny_pair.ir, 2, alone=True), 2, alone=False)
    files = write(tmp_path, ir, with_new_class(tiny_pair.router))
    path = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    add_expert(Bundle.open(path), "haze", *files, path, ("dusk", "haze"))
    bundle = Bundle.open(path)
    assert bundle.manifest.model.restoration["ranks"] == [4, 4, 4, 2]
    assert bundle.manifest.source.router is not None
    assert bundle.manifest.source.router.name == "new_router.pth"
    found = read_networks(bundle)[2]
    wanted = fold(load_restorer(files[0])[1]).state_dict()
    for name, tensor in found.items():
        if name.endswith("lora_A_list"):
            rows = wanted[name].shape[1]
            assert torch.equal(tensor[3, :rows], wanted[name][1])
            assert tensor[3].shape[0] == 2 * rows
            assert not tensor[3, rows:].any()
    monkeypatch.setattr(experts, "write_bundle", build.write_bundle)
    monkeypatch.setattr(experts, "make_references", make_references)
    remove_expert(bundle, "haze", path)
    assert contents(path) == contents(tiny_bundle)


def rounded(weight: np.ndarray) -> np.ndarray:
    """(out, in) to 7 bits, a scale a row."""
    scale = np.abs(weight).max(1, keepdims=True) / 64
    return np.rint(weight / scale) * scale


@pytest.mark.usefixtures("_no_export")
@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_other_precisions(
    kind: str, tiny_pair: Pair, tiny_bundle: Path, tiny_bundle_fp16: Path, tmp_path: Path
) -> None:
    """The checkpoint is found to have the bundle's weights, which are not rounded twice."""
    path = shutil.copytree(tiny_bundle if kind == "int8" else tiny_bundle_fp16, tmp_path / "old")
    if kind == "int8":
        quantize_router(path / "router.onnx")
        manifest = Bundle.open(tiny_bundle).manifest
        changes: Any = {"files": list_files(path), "router_precision": "int8"}
        write_manifest(path, manifest.model_copy(update=changes))
    before = read_parts(Bundle.open(path))
    for name, tensor in before.router.items():
        exact = tiny_pair.router[name].float()
        if kind == "fp16":
            exact = exact.half().float() if name.startswith("clip_model") else exact
        elif ".layers." in name and tensor.dim() == 2:
            exact = torch.from_numpy(rounded(exact.numpy()))
            assert torch.equal(torch.from_numpy(rounded(tensor.numpy())), tensor)
        assert torch.equal(tensor, exact), name
    ir = with_new_expert(tiny_pair.ir, 4, alone=True)
    files = write(tmp_path, ir, with_new_class(tiny_pair.router))
    add_expert(Bundle.open(path), "haze", *files, tmp_path / "new")
    after = Bundle.open(tmp_path / "new")
    assert after.manifest.precisions == Bundle.open(path).manifest.precisions
    parts = read_parts(after)
    for name, tensor in before.restorer.items():
        same = parts.restorer[name][:3] if "lora_" in name else parts.restorer[name]
        assert torch.equal(same, tensor), name


def changed(tensors: Tensors, name: str) -> dict[str, Tensor]:
    other = tensors[name].clone()
    other.view(-1)[-1] *= 2
    return {**tensors, name: other}


def test_combinations_that_cannot_be(
    lorair_export: Command, tiny_pair: Pair, tiny_bundle: Path, tmp_path: Path
) -> None:
    def said(ir: Tensors, router: Tensors, *more: object, name: str = "haze") -> str:
        files = write(tmp_path, ir, router)
        add = ("expert", "add", tiny_bundle, *options(files, name), "-o", tmp_path / "new")
        done = lorair_export(*add, *more)
        assert done.code == 2, done.err
        return done.error.replace(f"{tmp_path}/", "")

    ir, router = with_new_expert(tiny_pair.ir, 4, alone=True), with_new_class(tiny_pair.router)
    default = [with_new_expert(read_tensors(path), 4, alone=True) for path in demo.paths()]
    assert "wanted a name that is not taken (snow, rain, raindrop), found rain" in said(
        ir, router, name="rain"
    )
    assert "--take: wanted one of dusk, found haze" in said(ir, router, "--classes", "dusk")
    assert "--classes: wanted 1 names, found a, b" in said(ir, router, "--classes", "a,b")
    assert "new_ir.pth is another network than the bundle's: prior, wanted" in said(
        default[0], router
    ).replace("prior:", "prior,")
    uneven = {**ir, "intro.lora_A_list": ir["intro.lora_A_list"][:, :6]}
    assert "does not fit the network" in said(uneven, router), "ranks differ within the file"
    assert "other shared weights than the bundle: wanted" in said(
        changed(ir, "encoders.0.blocks.0.norm1.weight"), router
    )
    tower = "clip_model.vision_tower.visual_projection.weight"
    assert f" tensors that differ, first {tower}" in said(ir, changed(router, tower))
    assert "found 5 classes; give the router" in said(ir, with_new_class(router))
    wider = dict(default[1])
    assert "new_router.pth is another network than the bundle's: layers" in said(ir, wider)
    assert "were --ir-weights and --router-weights swapped?" in said(router, ir)

    taken = lorair_export("expert", "remove", tiny_bundle, "fog")
    assert taken.code == 2
    assert "wanted one of snow, rain, raindrop, found fog" in taken.error
    for command in (
        ("add", "default", *options(write(tmp_path, ir, router))),
        ("remove", "default", "rain"),
    ):
        done = lorair_export("expert", *command)
        assert done.code == 2
        assert "--output: wanted a folder for the new bundle, found none" in done.error


@pytest.mark.parametrize("ranks", [[4, 4], [4, 4, 9], [4, 4, "4"], "444"])
def test_ranks_that_cannot_be(ranks: object, bundle: Bundle) -> None:
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    content["model"]["restoration"]["ranks"] = ranks
    content["digest"] = content_digest(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="ranks of 3 experts, up to 4"):
        read_parts(Bundle.open(bundle.path))


def test_an_expert_that_every_picture_needs_stays(lorair_export: Command, bundle: Bundle) -> None:
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_text())
    content["model"]["top_k"] = 3
    content["digest"] = content_digest(content)
    path.write_text(json.dumps(content))
    done = lorair_export("expert", "remove", bundle.path, "rain")
    assert done.code == 2
    assert "wanted at least 3 experts left, as many as a picture gets, found 3" in done.error
