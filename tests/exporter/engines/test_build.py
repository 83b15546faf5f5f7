"""TensorRT-RTX engines of the tiny model, built as the command builds them; no GPU."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from command import Command
from onnx import TensorProto, helper

from lorair.exporter.engines import build as engine
from lorair.exporter.engines import library as engine_library
from lorair.exporter.engines import worker as engine_worker
from lorair.exporter.engines.build import BuiltEngine, build_engines, dependencies
from lorair.exporter.engines.library import choose
from lorair.exporter.engines.proof import prove
from lorair.exporter.engines.sizes import Size, Sizes
from lorair.exporter.graphs.inlined import inlined
from lorair.exporter.graphs.merged import merged
from lorair.kernels.aot import write_index
from lorair.kernels.spec import OPERATORS
from lorair.runtime.bundle.engines import Branch, Depends, Proof, read_engines
from lorair.runtime.bundle.files import FileInfo, sha256
from lorair.runtime.bundle.manifest import Bundle, Precision
from lorair.runtime.errors import BundleError, DependencyError, EngineError, OptionError
from lorair.runtime.system import extras

trt: Any = pytest.importorskip(
    "tensorrt_rtx", reason="engines need TensorRT-RTX: pip install 'lorair[rtx]'"
)

BRANCHES: tuple[Branch, ...] = ("router", "restorer")
SMALL = Sizes(Size(16, 32), Size(64, 64), Size(128, 256))
for_any_route = partial(dependencies, routes="any")


@pytest.fixture(scope="session")
def builder() -> Any:
    return trt.Builder(trt.Logger(trt.Logger.ERROR))


@pytest.fixture(scope="session")
def bundles(
    tiny_bundle: Path, tiny_bundle_fp16: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    """Copies that engines are added to."""
    folder = tmp_path_factory.mktemp("engines")
    return {
        name: Bundle.open(shutil.copytree(path, folder / name))
        for name, path in (("fp32", tiny_bundle), ("fp16", tiny_bundle_fp16))
    }


@pytest.fixture(scope="session")
def built(bundles: dict[str, Bundle]) -> Callable[[str], list[BuiltEngine]]:
    """The engines of a precision, really built, once a session."""
    done: dict[str, list[BuiltEngine]] = {}

    def build(precision: str) -> list[BuiltEngine]:
        if precision not in done:
            done[precision] = build_engines(bundles[precision], sizes=SMALL, routes="any")
        return done[precision]

    return build


def parsed(builder: Any, model: onnx.ModelProto, weights: Path, branch: Branch) -> Any:
    """The network and its parser, as the worker makes them."""
    return engine_worker.parse(trt, builder, model.SerializeToString(), weights, branch)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_both_engines_are_built(
    precision: str, built: Callable[[str], list[BuiltEngine]], bundles: dict[str, Bundle]
) -> None:
    router, restorer = built(precision)
    assert router.fresh
    assert restorer.fresh
    image = restorer.record.depends.profile["image"]
    assert (image.min, image.opt, image.max) == (
        (1, 3, 16, 32),
        (1, 3, 64, 64),
        (1, 3, 128, 256),
    )
    for one in (router, restorer):
        assert one.record.depends.precision == precision
        assert one.record.depends.version == trt.__version__
        assert one.record.size == one.path.stat().st_size > 1_000_000
        assert one.record.seconds > 0
    # Other tests may have added an engine for each expert.
    found = [engine.record for engine in read_engines(bundles[precision])]
    assert [r for r in found if r and r.depends.gates is None] == [restorer.record, router.record]
    assert all(e.read()[:4] == b"vtrt" for e in read_engines(bundles[precision]))


def test_float32_engines_are_float32_throughout(built: Callable[[str], list[BuiltEngine]]) -> None:
    for one in built("fp32"):
        assert {t for p in one.record.proof.products for t in p.types} == {"float32"}


def test_float16_engines_compute_the_picture_in_float16(
    built: Callable[[str], list[BuiltEngine]],
) -> None:
    router, restorer = (one.record.proof.products for one in built("fp16"))
    for product in (*router, *restorer):
        wanted = "float16" if product.role == "picture" else "float32"
        assert set(product.types) == {wanted}, product
    heads = {p.name for p in router if p.role == "head"}
    assert heads == {"de_extractor.0/Gemm", "de_extractor.2/Gemm", "cls_head/Gemm"}
    assert {p.kind for p in restorer if p.role == "merging"} == {"matrix product"}
    # Every convolution of the restorer, and as many products with the picture in them.
    graph = inlined(built("fp16")[1].path.parents[1] / "restorer.onnx", "reduce").graph
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len([p for p in restorer if p.kind == "convolution"]) == len(convolutions)


def test_each_expert_gets_an_engine_of_constant_weights(
    bundles: dict[str, Bundle], built: Callable[[str], list[BuiltEngine]], lorair_export: Command
) -> None:
    general = {one.record.depends.name for one in built("fp16")}
    bundle = bundles["fp16"]
    router, *restorers = build_engines(bundle, sizes=SMALL)
    assert [one.fresh for one in (router, *restorers)] == [False, True, True, True]
    gates = [one.record.depends.gates for one in restorers]
    assert gates == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    for one in restorers:
        assert {(p.role, *p.types) for p in one.record.proof.products} == {
            ("picture", "float16", "float16")
        }
    contents = {engine.read() for engine in read_engines(bundle)}
    assert len(contents) == len(general | {one.record.depends.name for one in restorers}) == 5
    shown = lorair_export("inspect", bundle.path).out
    assert all(f"for {name}\n" in shown for name in ("rain", "snow", "any route", "router"))


def test_routes_by_default(with_kernels: Bundle, bundles: dict[str, Bundle]) -> None:
    def routes(bundle: Bundle, **options: Any) -> list[tuple[float, ...] | None]:
        flavour: Any = "tensorrt" if options else "tensorrt-rtx"
        return [d.gates for d in dependencies(bundle, flavour, SMALL, (), **options)[1:]]

    one, manifest = bundles["fp32"], bundles["fp32"].manifest
    two = manifest.model_copy(update={"model": manifest.model.model_copy(update={"top_k": 2})})
    assert len(routes(one)) == 3
    assert routes(Bundle(one.path, two)) == [None]
    assert routes(with_kernels, plugin=True) == [None]
    with pytest.raises(OptionError, match="--plugin: wanted --routes any"):
        routes(with_kernels, plugin=True, routes="each")


def test_weights_made_as_it_runs_fail_the_proof(bundles: dict[str, Bundle], builder: Any) -> None:
    path = bundles["fp32"].path / "restorer.onnx"
    model = merged(path, np.array([0, 1, 0], np.float32))
    network, _parser = parsed(builder, model, path, "restorer")
    assert {p.role for p in prove(network, "restorer", "fp32", merged=True).products} == {"picture"}
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    made = helper.make_node("Mul", [convolution.input[1], "prior.1"], ["made"])
    model.graph.initializer.append(helper.make_tensor("prior.1", TensorProto.FLOAT, [1], [1.0]))
    model.graph.node.insert(0, made)
    convolution.input[1] = "made"
    network, _parser = parsed(builder, model, path, "restorer")
    with pytest.raises(EngineError, match="is not merged: wanted constant weights, found 1 made"):
        prove(network, "restorer", "fp32", merged=True)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_the_parser_takes_the_graphs(
    branch: Branch, precision: str, bundles: dict[str, Bundle], builder: Any
) -> None:
    path = bundles[precision].path / f"{branch}.onnx"
    network, parser = parsed(builder, inlined(path, "reduce"), path, branch)
    assert parser.num_errors == 0
    assert network.num_layers > 100


def test_strides_and_groups_survive_the_parser(bundles: dict[str, Bundle], builder: Any) -> None:
    """Of a body that is not written out, it takes these as 1 and reports nothing."""
    path = bundles["fp32"].path / "restorer.onnx"
    model = inlined(path, "reduce")
    network, _parser = parsed(builder, model, path, "restorer")
    wanted: Counter[tuple[int, int]] = Counter()
    for node in model.graph.node:
        if node.op_type == "Conv":
            given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            wanted[given.get("strides", [1])[0], given.get("group", 1)] += 1
    found: Counter[tuple[int, int]] = Counter()
    for layer in map(network.get_layer, range(network.num_layers)):
        if layer.type == trt.LayerType.CONVOLUTION:
            layer.__class__ = trt.IConvolutionLayer
            found[layer.stride_nd[0], layer.num_groups] += 1
    assert found == wanted
    assert found[2, 1] == 4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_every_operator_is_one_that_tensorrt_supports(
    branch: Branch, precision: str, bundles: dict[str, Bundle], builder: Any
) -> None:
    model = inlined(bundles[precision].path / f"{branch}.onnx", "reduce")
    assert unsupported(model, builder) == set()
    model.graph.node.append(helper.make_node("Conv", ["x"], ["y"], name="of us", domain="ours"))
    model.graph.node.append(helper.make_node("Unheard", ["x"], ["y"]))
    assert unsupported(model, builder) == {"ours.Conv", "Unheard"}


def unsupported(model: onnx.ModelProto, builder: Any) -> set[str]:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    return {
        ".".join(filter(None, (node.domain, node.op_type)))
        for node in model.graph.node
        if node.domain or not parser.supports_operator(node.op_type)
    }


def plant_float32(model: onnx.ModelProto, op_type: str, contains: str) -> None:
    """Run one product in float32 between casts, as a careless change would."""
    nodes = model.graph.node
    i, node = next(
        (i, n) for i, n in enumerate(nodes) if n.op_type == op_type and contains in n.output[0]
    )
    before = [
        helper.make_node("Cast", [name], [f"{name}_32"], to=TensorProto.FLOAT)
        for name in node.input
    ]
    after = helper.make_node("Cast", ["planted"], list(node.output), to=TensorProto.FLOAT16)
    node.input[:] = [f"{name}_32" for name in node.input]
    node.output[:] = ["planted"]
    planted = [*nodes[:i], *before, node, after, *nodes[i + 1 :]]
    del nodes[:]
    nodes.extend(planted)


PLANTS = [("restorer", "Conv", "encoders.1"), ("router", "MatMul", "layers.1.mlp.fc1")]


@pytest.mark.parametrize(("branch", "op_type", "contains"), PLANTS)
def test_a_planted_float32_product_fails_the_proof(
    branch: Branch, op_type: str, contains: str, bundles: dict[str, Bundle], builder: Any
) -> None:
    path = bundles["fp16"].path / f"{branch}.onnx"
    model = inlined(path, "reduce")
    network, _parser = parsed(builder, model, path, branch)
    assert isinstance(prove(network, branch, "fp16"), Proof)
    plant_float32(model, op_type, contains)
    network, _parser = parsed(builder, model, path, branch)
    with pytest.raises(EngineError, match=r"found 1 of \d+ in another type.* with float32"):
        prove(network, branch, "fp16")


def test_a_planted_float32_convolution_fails_the_build(
    bundles: dict[str, Bundle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lorair_export: Command,
) -> None:
    def planted(path: Path, target: Any, **rest: Any) -> onnx.ModelProto:
        model = inlined(path, target, **rest)
        if path.name == "router.onnx":
            plant_float32(model, "Conv", "patch_embedding")
        return model

    monkeypatch.setattr(engine, "inlined", planted)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bundle = shutil.copytree(bundles["fp16"].path, tmp_path / "b", ignore=lambda *_: ["engines"])
    result = lorair_export("engine", bundle)
    assert result.code == 1
    assert "the router's network is not fp16" in result.error
    assert "log is" in result.error
    assert read_engines(Bundle.open(bundle)) == []


def test_the_wrong_precision_fails_the_proof(bundles: dict[str, Bundle], builder: Any) -> None:
    pairs: tuple[tuple[Precision, Precision], ...] = (("fp32", "fp16"), ("fp16", "fp32"))
    for found, claimed in pairs:
        path = bundles[found].path / "router.onnx"
        network, _parser = parsed(builder, inlined(path, "reduce"), path, "router")
        with pytest.raises(EngineError, match=f"network is not {claimed}"):
            prove(network, "router", claimed)


def test_a_graph_that_the_parser_refuses(bundles: dict[str, Bundle], builder: Any) -> None:
    path = bundles["fp32"].path / "router.onnx"
    model = inlined(path, "reduce")
    model.graph.node[-1].op_type = "Unheard"
    with pytest.raises(EngineError, match=r"does not take the router's graph.* Unheard"):
        parsed(builder, model, path, "router")


def test_the_same_command_builds_nothing_again(
    built: Callable[[str], list[BuiltEngine]], bundles: dict[str, Bundle], lorair_export: Command
) -> None:
    first = built("fp16")
    sizes = ("--routes", "any", "--min", "16x32", "--opt", "64x64", "--max", "128x256")
    result = lorair_export("engine", bundles["fp16"].path, *sizes, "--json")
    assert result.code == 0, result.err
    again = json.loads(result.out)
    assert [(one["path"], one["fresh"]) for one in again] == [(str(b.path), False) for b in first]
    shown = lorair_export("engine", bundles["fp16"].path, *sizes, "--flavour", "tensorrt-rtx")
    assert "already there" in shown.out
    assert "3 float32 (head)" in shown.out


def names(bundle: Bundle, sizes: Sizes = SMALL, sms: tuple[int, ...] = ()) -> list[str]:
    return [d.name for d in for_any_route(bundle, "tensorrt-rtx", sizes, sms)]


def test_a_batch_is_in_both_profiles(bundles: dict[str, Bundle], builder: Any) -> None:
    sizes = Sizes(SMALL.min, SMALL.opt, SMALL.max, batch=4)
    router, restorer = for_any_route(bundles["fp32"], "tensorrt-rtx", sizes, ())
    assert (router.batch, restorer.batch) == (4, 4)
    views = router.profile["views"]
    assert (views.min[0], views.opt[0], views.max[0]) == (1, 4, 4)
    image, prior = restorer.profile["image"], restorer.profile["prior"]
    assert (image.min, image.opt, image.max) == (
        (1, 3, 16, 32),
        (4, 3, 64, 64),
        (4, 3, 128, 256),
    )
    assert (prior.min, prior.max) == ((1, 384), (4, 384))
    assert not {router.name, restorer.name} & set(names(bundles["fp32"]))
    path = bundles["fp32"].path / "restorer.onnx"
    network, _parser = parsed(builder, engine._graph(path, restorer), path, "restorer")
    found = {t.name: tuple(t.shape) for t in map(network.get_input, range(3))}
    assert found == {"image": (-1, 3, -1, -1), "prior": (-1, 384), "gates": (3,)}
    assert network.get_output(0).shape[0] == -1
    assert engine_worker.make_config(trt, builder, restorer).num_optimization_profiles == 1


@pytest.fixture
def with_kernels(
    bundles: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bundle:
    """A bundle with an index of kernels, on a machine with TensorRT."""
    monkeypatch.setattr(engine, "load", lambda _: trt)
    monkeypatch.setattr(engine, "device", lambda: "one GPU")
    bundle = bundles["fp32"]
    path = shutil.copytree(bundle.path, tmp_path / "b", ignore=lambda *_: ["engines"])
    (path / "kernels").mkdir()
    write_index(path / "kernels", [])
    return listing(Bundle(path, bundle.manifest), "kernels/index.json")


def listing(bundle: Bundle, file: str) -> Bundle:
    """The bundle with a file as it is now in its manifest."""
    path = bundle.path / file
    info = FileInfo(sha256=sha256(path), size=path.stat().st_size)
    files = {**bundle.manifest.files, file: info}
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"files": files}))


def test_plugins_depend_on_the_kernels(with_kernels: Bundle) -> None:
    plain = for_any_route(with_kernels, "tensorrt", SMALL, ())
    router, restorer = for_any_route(with_kernels, "tensorrt", SMALL, (), plugin=True)
    assert router == plain[0]
    assert "the bundle's kernels" in restorer.needs
    assert restorer.name != plain[1].name
    index = with_kernels.path / "kernels" / "index.json"
    index.write_text(index.read_text() + " ")
    other = listing(with_kernels, "kernels/index.json")
    again = for_any_route(other, "tensorrt", SMALL, (), plugin=True)
    assert again[0] == router
    assert again[1].name != restorer.name


def test_the_job_names_plugins_and_timings(
    with_kernels: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[engine_worker.Job] = []
    graphs: list[onnx.ModelProto] = []

    def worker(job: engine_worker.Job, *_: Any) -> Any:
        jobs.append(job)
        graphs.append(onnx.load(job.graph, load_external_data=False))
        job.output.write_bytes(b"an engine")
        return {"proof": Proof(source="none", products=()), "seconds": 1, "peak_memory": None}

    monkeypatch.setattr(engine, "run_worker", worker)
    monkeypatch.setattr(engine, "choose", lambda _: "tensorrt")
    monkeypatch.setattr(trt, "__version__", "10.14.1")
    library = tmp_path / "liblorair-trt10.so"

    def compiled(bundle: Bundle, *, major: int) -> Any:
        assert (bundle, major) == (with_kernels, 10)
        return SimpleNamespace(path=library)

    monkeypatch.setattr(engine, "build_plugin", compiled)
    build_engines(with_kernels, plugin=True, timing_cache=tmp_path / "timings")
    assert [job.plugin for job in jobs] == [None, library]
    assert [job.timing_cache for job in jobs] == [tmp_path / "timings"] * 2
    of_ours = [node for node in graphs[1].graph.node if node.domain == "lorair"]
    assert {node.op_type for node in of_ours} == set(OPERATORS)


def test_plugins_need_kernels(bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "load", lambda _: trt)
    with pytest.raises(BundleError, match="build the bundle again with --kernels"):
        for_any_route(bundles["fp32"], "tensorrt", SMALL, (), plugin=True)


def test_names_follow_what_engines_depend_on(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles["fp32"]
    first = router, restorer = names(bundle)
    assert names(bundle) == first
    assert not set(first) & set(names(bundles["fp16"]))
    assert names(bundle, Sizes(SMALL.min, SMALL.opt, Size(128, 128)))[0] == router
    assert names(bundle, Sizes(SMALL.min, SMALL.opt, Size(128, 128)))[1] != restorer
    assert not set(first) & set(names(bundle, sms=(86,)))
    assert names(bundle, sms=(89, 86, 89)) == names(bundle, sms=(86, 89))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "bodies", lambda *_, **__: [])
        assert names(bundle)[0] == router
        assert names(bundle)[1] != restorer
    with monkeypatch.context() as patch:
        patch.setattr(trt, "__version__", "1.7.2")
        assert not set(first) & set(names(bundle))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_RECIPE", engine._RECIPE + 1)
        assert not set(first) & set(names(bundle))


@pytest.mark.parametrize("file", ["router.onnx", "router.onnx.data"])
def test_another_graph_or_other_weights_are_another_engine(
    file: str, bundles: dict[str, Bundle]
) -> None:
    manifest = bundles["fp32"].manifest
    changed = manifest.files[file].model_copy(update={"sha256": "0" * 64})
    files = {**manifest.files, file: changed}
    other = Bundle(Path(), manifest.model_copy(update={"files": files}))
    assert names(other)[0] != names(bundles["fp32"])[0]
    assert names(other)[1] == names(bundles["fp32"])[1]


def test_what_the_builder_is_told(bundles: dict[str, Bundle], builder: Any) -> None:
    depends: Depends = for_any_route(bundles["fp32"], "tensorrt-rtx", SMALL, (120, 86))[1]
    config = engine_worker.make_config(trt, builder, depends)
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION), "else no graph is captured"
    assert depends.recipe > 1, "those of recipe 1 are without that flag"
    assert config.num_optimization_profiles == 1
    found = [config.get_compute_capability(i) for i in range(config.num_compute_capabilities)]
    assert found == [trt.ComputeCapability.SM86, trt.ComputeCapability.SM120]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--min", "20x16"), "--min: wanted sides that are multiples of 16"),
        (("--max", "1000x1024"), "--max: wanted sides that are multiples of 16"),
        (("--opt", "512"), "--opt: wanted height x width, found 512"),
        (("--opt", "0x16"), "--opt: wanted height x width"),
        (("--opt", "64x64", "--max", "128x32"), "wanted --min <= --opt <= --max"),
        (("--plugin",), "--plugin: wanted TensorRT, found tensorrt-rtx: it has no plugins"),
        (("--timing-cache", "t"), "--timing-cache: wanted TensorRT, found tensorrt-rtx"),
        (("--sm", "90"), "--sm: wanted one of 75, 80, 86, 89, 120, 121, found 90"),
        (("--flavour", "openvino"), "--flavour: wanted auto or one of tensorrt-rtx, tensorrt"),
    ],
)
def test_bad_options(
    options: tuple[str, ...], words: str, tiny_bundle: Path, lorair_export: Command
) -> None:
    result = lorair_export("engine", tiny_bundle, *options)
    assert result.code == 2
    assert words in result.error
    assert not (tiny_bundle / "engines").exists()


@pytest.mark.parametrize(
    ("sizes", "sides"),
    [
        (Sizes(), (32, 512, 1024)),
        (Sizes(max=Size(64, 64)), (32, 64, 64)),
        (Sizes(opt=Size(2048, 2048)), (32, 2048, 2048)),
        (Sizes(min=Size(1056, 1056)), (1056, 1056, 1056)),
        (Sizes(opt=Size(96, 96)), (32, 96, 1024)),
    ],
)
def test_sizes_that_are_left_out_fit_the_others(sizes: Sizes, sides: tuple[int, int, int]) -> None:
    found = sizes.range(32)
    assert (found.min, found.opt, found.max) == tuple((1, 3, side, side) for side in sides)


def test_default_sizes_are_multiples_of_any_stride() -> None:
    found = Sizes().range(48)
    assert (found.min[2], found.opt[2], found.max[2]) == (48, 528, 1056)


def test_an_int8_router_is_for_cpus(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["fp32"]
    manifest = bundle.manifest.model_copy(update={"router_precision": "int8"})
    with pytest.raises(BundleError, match="without --router-int8"):
        build_engines(Bundle(bundle.path, manifest))


def only(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    for module in (engine_library, extras):
        monkeypatch.setattr(module, "is_installed", lambda name: name in installed)


def test_flavours(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "tensorrt")
    assert choose("auto") == "tensorrt"
    with pytest.raises(DependencyError, match=r"pip install .*\[export,rtx\]'"):
        choose("tensorrt-rtx")
    only(monkeypatch, "tensorrt", "tensorrt_rtx")
    assert choose("auto") == "tensorrt-rtx"
    assert choose("tensorrt") == "tensorrt"
    only(monkeypatch)
    with pytest.raises(DependencyError, match="the package tensorrt_rtx"):
        choose("auto")


def test_tensorrt_builds_for_its_own_gpu_only(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "load", lambda _: trt)
    with pytest.raises(OptionError, match="builds for the GPU that it runs on"):
        for_any_route(bundles["fp32"], "tensorrt", SMALL, (86,))
    with pytest.raises(DependencyError, match="--flavour tensorrt-rtx"):
        for_any_route(bundles["fp32"], "tensorrt", SMALL, ())
    monkeypatch.setattr(engine, "device", lambda: "one GPU")
    one = [d.name for d in for_any_route(bundles["fp32"], "tensorrt", SMALL, ())]
    monkeypatch.setattr(engine, "device", lambda: "another GPU")
    assert not set(one) & {d.name for d in for_any_route(bundles["fp32"], "tensorrt", SMALL, ())}


def test_build_with_engines(
    lorair_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused or noted before anything is exported."""
    output = tmp_path / "bundle"
    result = lorair_export("build", "-o", output, "--engines", "auto", "--router-int8")
    assert (result.code, "an int8 router is for CPUs" in result.error) == (2, True)
    result = lorair_export("build", "-o", output, "--engines", "all")
    assert (result.code, "--engines: wanted auto" in result.error) == (2, True)
    real = extras.is_installed
    for module in (engine_library, extras):
        monkeypatch.setattr(module, "is_installed", lambda n: n != "tensorrt_rtx" and real(n))
    result = lorair_export("build", "-o", output, "--engines", "tensorrt-rtx")
    assert (result.code, "[export,rtx]'" in result.error) == (2, True)
    assert not output.exists()
