"""The library of plugins in a bundle, as the command compiles it; loaded by TensorRT's bindings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import Command

pytest.importorskip("triton")

from plugin_host import SOURCES, STRICT, described, image, includes, skip_unless_it_compiles

from lorair.exporter.engines.plugin import BuiltPlugin, build_plugin
from lorair.kernels.aot import write_index
from lorair.kernels.spec import OPERATORS
from lorair.kernels.tensorrt.library import find_compiler
from lorair.kernels.variants import variants
from lorair.runtime.bundle import SHIPPED_BUNDLE
from lorair.runtime.bundle.files import list_files, sha256
from lorair.runtime.bundle.manifest import Bundle, write_manifest
from lorair.runtime.bundle.plugins import find_plugin
from lorair.runtime.errors import BundleError


def with_kernels(path: Path, sms: tuple[int, ...] = (80, 90)) -> Bundle:
    """The shipped bundle with kernels in name."""
    shutil.copytree(SHIPPED_BUNDLE, path)
    folder = path / "kernels"
    folder.mkdir()
    kernels = [described(v, sm) for v in variants(4, 8, "fp32") for sm in sms]
    kernels += [described(v, 89, "ptx") for v in variants(4, 8, "fp32")]
    for kernel in kernels:
        (folder / kernel.file).write_text(image(kernel))
    write_index(folder, kernels)
    manifest = Bundle.open(SHIPPED_BUNDLE).manifest
    write_manifest(path, manifest.model_copy(update={"files": list_files(path)}))
    return Bundle.open(path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    skip_unless_it_compiles()
    return with_kernels(tmp_path_factory.mktemp("plugin") / "bundle")


@pytest.fixture(scope="module")
def built(bundle: Bundle) -> BuiltPlugin:
    return build_plugin(bundle, major=10)


def test_the_library_and_its_record(built: BuiltPlugin, bundle: Bundle) -> None:
    assert built.fresh
    assert built.path == bundle.path / "plugins" / "liblorair-trt10.so"
    depends, index = built.record.depends, bundle.manifest.files["kernels/index.json"].sha256
    assert (depends.kernels, depends.sms) == (index, (80, 90))
    assert built.record.sha256 == sha256(built.path)
    assert json.loads(built.path.with_suffix(".json").read_text())["depends"]["kernels"] == index
    assert find_plugin(Bundle.open(bundle.path), 10, index) == built.path
    assert {p.name for p in built.path.parent.iterdir()} == {
        ".lock",
        "liblorair-trt10.json",
        "liblorair-trt10.so",
    }


def test_it_exports_and_needs_what_it_should(built: BuiltPlugin) -> None:
    def lines(*command: str) -> list[str]:
        done = subprocess.run([*command, built.path], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    exported = {line.split()[-1] for line in lines("nm", "-D", "--defined-only")}
    assert exported == {"getCreators", "setLoggerFinder"}
    needed = {line.split("[")[1][:-1] for line in lines("readelf", "-d") if "(NEEDED)" in line}
    assert needed <= {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libdl.so.2", "libc.so.6"}
    assert b"LoRAMoEConv.fp32.32x64x16.any" in built.path.read_bytes()


def test_it_is_compiled_once(built: BuiltPlugin, bundle: Bundle, lorair_export: Command) -> None:
    result = lorair_export("plugin", bundle.path, "--json")
    assert result.code == 0, result.err
    again = json.loads(result.out)
    assert (again["path"], again["fresh"]) == (str(built.path), False)
    shown = lorair_export("plugin", bundle.path, "--tensorrt", "10").out
    assert "compute capability 8.0, 9.0; PTX for later ones" in shown
    assert "already there" in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--tensorrt", "11"), "wanted the headers of TensorRT 11, found those of 10."),
        (("--sm", "120"), "sm_120: wanted kernels for it"),
    ],
)
def test_what_cannot_be(
    options: tuple[str, ...], words: str, bundle: Bundle, lorair_export: Command
) -> None:
    result = lorair_export("plugin", bundle.path, *options)
    assert result.code == 2
    assert words in result.error


def test_what_is_missing(
    bundle: Bundle, lorair_export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = lorair_export("plugin", "default")
    assert (result.code, "wanted a bundle with compiled kernels" in result.error) == (2, True)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    other = with_kernels(tmp_path / "other")
    result = lorair_export("plugin", other.path)
    assert (result.code, "wanted a C++ compiler" in result.error) == (2, True)
    assert not list((other.path / "plugins").glob("*liblorair*"))


def test_a_library_that_is_not_as_its_record_says(built: BuiltPlugin, tmp_path: Path) -> None:
    bundle = with_kernels(tmp_path / "bundle", (80,))
    kernels = bundle.manifest.files["kernels/index.json"].sha256
    with pytest.raises(BundleError, match=r"found none; `lorair-export plugin .*` builds them"):
        find_plugin(bundle, 10, kernels)
    shutil.copytree(built.path.parent, bundle.path / "plugins")
    with pytest.raises(BundleError, match="wanted one with the kernels"):
        find_plugin(bundle, 10, kernels)
    assert find_plugin(bundle, 10, built.record.depends.kernels)
    with pytest.raises(BundleError, match=r"liblorair-trt11\.so: wanted the library"):
        find_plugin(bundle, 11, kernels)
    path = bundle.path / "plugins" / built.path.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match="wanted the library as it was built"):
        find_plugin(bundle, 10, built.record.depends.kernels)


def test_the_host_of_the_documentation_compiles(bundle: Bundle, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "tensorrt.md").read_text("utf-8")
    (tmp_path / "host.cpp").write_text(text.split("```cpp\n")[1].split("```")[0])
    flags = ["-std=c++17", "-fsyntax-only", *STRICT, *includes(tmp_path)]
    subprocess.run([find_compiler(), *flags, tmp_path / "host.cpp"], check=True)


BINDINGS = {
    version: Path(__file__).parents[3] / ".build" / "bindings" / version
    for version in ("10.3.0", "10.16.1.11", "11.4.0.106")
}
"""TensorRT's real Python bindings, a folder each; they are no free software."""

CALLS = """
import json, sys
import numpy as np
import tensorrt_bindings as trt

def said(member):
    return (getattr(member, "fset", member).__doc__ or "").replace("collections.abc.", "")

engine, context = trt.ICudaEngine, trt.IExecutionContext
calls = {
    "deserialize": said(trt.Runtime.deserialize_cuda_engine),
    "host code": said(trt.Runtime.engine_host_code_allowed),
    "registry": said(trt.Runtime.get_plugin_registry),
    "builder's": said(trt.Builder.get_plugin_registry),
    "load": said(trt.IPluginRegistry.load_library),
    "carry": said(trt.IBuilderConfig.plugins_to_serialize),
    "context": said(engine.create_execution_context),
    "place": said(context.set_tensor_address),
    "shape": said(context.set_input_shape),
    "memory": said(context.set_device_memory),
    "needs": said(context.update_device_memory_size_for_shapes),
    "run": said(context.execute_async_v3),
}
for name in "device_memory_size_v2 num_io_tensors get_tensor_name get_tensor_mode".split():
    assert hasattr(engine, name), name
assert trt.ExecutionContextAllocationStrategy.USER_MANAGED, trt.TensorIOMode.INPUT
assert trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR
made = {}
if trt.__version__.startswith("10."):
    registry = trt.get_plugin_registry()
    made["loaded"] = registry.load_library(sys.argv[1]) is not None
    for operator in sys.argv[2:]:
        creator = registry.get_creator(operator, "1", "lorair")
        scale = np.array([1.5], np.float32)
        fields = [trt.PluginField("scale", scale, trt.PluginFieldType.FLOAT32)]
        collection = trt.PluginFieldCollection(fields)
        plugin = creator.create_plugin("a node", collection, trt.TensorRTPhase.BUILD)
        made[operator] = [creator.name, type(plugin).__name__]
print(json.dumps({"version": trt.__version__, "calls": calls, "made": made}))
"""


@pytest.fixture(scope="module")
def stub(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what stands in for TensorRT's own libraries."""
    folder = tmp_path_factory.mktemp("stub")
    flags = ["-std=c++17", "-shared", "-fPIC", *STRICT, *includes(folder)]
    made = folder / "libnvinfer.so.10"
    subprocess.run([find_compiler(), *flags, SOURCES / "stub.cpp", "-o", made, "-ldl"], check=True)
    for name in ("nvonnxparser.so.10", "nvinfer_plugin.so.10"):
        (folder / f"lib{name}").symlink_to(made)
    for name in ("nvinfer.so.11", "nvonnxparser.so.11", "nvinfer_plugin.so.11"):
        (folder / f"lib{name}").symlink_to(made)
    return folder


@pytest.mark.parametrize("version", BINDINGS)
def test_the_bindings_have_what_is_called(version: str, stub: Path, built: BuiltPlugin) -> None:
    """With these names and types; those of version 10 load the library and make its plugins."""
    if not BINDINGS[version].is_dir():
        pytest.skip("TensorRT's bindings are not in .build/bindings: `make bindings`")
    done = subprocess.run(
        [sys.executable, "-c", CALLS, built.path, *OPERATORS],
        env={**os.environ, "LD_LIBRARY_PATH": str(stub), "PYTHONPATH": str(BINDINGS[version])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["version"] == version
    for call, words in {
        "deserialize": "serialized_engine: ",
        "host code": "bool) -> None",
        "registry": "IPluginRegistry",
        "builder's": "IPluginRegistry",
        "load": "plugin_path: str) -> ",
        "carry": "[str]) -> None",
        "context": "strategy: ",
        "place": "name: str, memory: ",
        "shape": "name: str, shape: ",
        "memory": "size: ",
        "needs": ") -> int",
        "run": "stream_handle: ",
    }.items():
        assert words in said["calls"][call], call
    if version.startswith("10."):
        assert said["made"].pop("loaded")
        assert [one[0] for one in said["made"].values()] == list(OPERATORS)
        assert all(one[1] == "IPluginV3" for one in said["made"].values())
