"""The operators as TensorRT plugins: `IPluginV3` in Python, launching compiled kernels.

For TensorRT 10 and later, at build and at run time; TensorRT-RTX has no plugins. One
creator an operator, in the namespace `lorair`; which kernels there are is read from a
bundle's `kernels/` (`lorair.runtime.bundle.kernels`), and a launcher that the host gives runs them.
TensorRT's base classes come with the library, so classes are made from its module.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from lorair.kernels import spec
from lorair.kernels.spec import FORMS
from lorair.kernels.tensorrt.node import Node, dtypes_of
from lorair.runtime.bundle.kernels import Compiled, for_gpu, read_index
from lorair.runtime.errors import BackendError, BundleError, EngineError
from lorair.runtime.gpu.cuda import Launcher

NAMESPACE: Final = spec.DOMAIN
VERSION: Final = "1"


def make_creator(
    trt: Any, operator: str, kernels: Mapping[str, Compiled], launcher: Launcher
) -> Any:
    """An `IPluginCreatorV3One` of one operator.

    trt: the module `tensorrt`; another with its types will do for tests. kernels: of the GPU, by
    name.
    """
    plugin = make_plugin_class(trt)

    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name, self.plugin_namespace, self.plugin_version = operator, NAMESPACE, VERSION
            self.field_names = _field_names(trt, operator)
            self.kernels = kernels

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            return plugin(operator, scale_of(operator, fields), kernels, launcher)

    return Creator()


def make_plugin_class(trt: Any) -> Any:
    """`Node` with the library's base classes, of which each wants to be initialised."""
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)

    class Plugin(Node, *bases):  # type: ignore[misc]
        def __init__(self, operator: str, *rest: Any) -> None:
            for base in bases:
                base.__init__(self)
            super().__init__(operator, *rest)
            self.plugin_name, self.plugin_namespace = operator, NAMESPACE
            self.plugin_version, self.num_outputs = VERSION, len(self.form.outputs)

    Plugin.trt = trt
    return Plugin


_POINTWISE: Final = {"strides": 1, "pads": 0, "group": 1}


def _field_names(trt: Any, operator: str) -> Any:
    """The attributes that the parser shall hand over."""
    kinds = trt.PluginFieldType
    fields = {"scale": kinds.FLOAT32} if operator != spec.NORM_SCALE_ADD else {}
    fields |= dict.fromkeys(_POINTWISE if operator == spec.LORA_MOE_CONV else (), kinds.INT32)
    return trt.PluginFieldCollection(
        [trt.PluginField(name, np.array([]), kind) for name, kind in fields.items()]
    )


def scale_of(operator: str, fields: Any) -> float:
    """The attribute of a node, or of its serialized form; 0 for NormScaleAdd, which has none.

    Raises EngineError: it is missing, or the node is a convolution that has no kernel.
    """
    found = {field.name: np.asarray(field.data) for field in fields}
    for name, only in _POINTWISE.items():
        if operator == spec.LORA_MOE_CONV and np.any(found.get(name, only) != only):
            raise EngineError(
                f"there is no kernel for this {operator}",
                wanted=f"{name} {only}",
                found=str(found[name].tolist()),
                hint="leave it to its body",
            )
    if operator == spec.NORM_SCALE_ADD:
        return 0.0
    if "scale" not in found or found["scale"].size != 1:
        raise EngineError(f"cannot make a node of {operator}", wanted="its scale", found="none")
    return float(found["scale"][0])


def register(trt: Any, folder: Path, sm: int, launcher: Launcher) -> None:
    """Register a creator for each operator; again for the same kernels does nothing.

    The registry is the process's: all its engines with plugins are of one bundle. trt: the module
    `tensorrt`. folder: a bundle's `kernels/`. sm: the GPU's compute capability, 89 for 8.9.

    Raises:
        BackendError: the library has no plugins.
        BundleError: no kernels for this GPU.
        EngineError: those of another bundle are registered.
    """
    _check_library(trt)
    kernels = for_gpu(read_index(folder), sm)
    for operator in FORMS:
        if not dtypes_of(operator, kernels):
            raise BundleError(
                f"no kernels of {operator} in {folder} for this GPU",
                wanted=f"those for sm_{sm}",
                found=f"{len(kernels)} kernels that it can load",
                hint="build the bundle again with --kernels",
            )
    for operator in FORMS:
        _register(trt, make_creator(trt, operator, kernels, launcher))


def _check_library(trt: Any) -> None:
    if trt.__name__ == "tensorrt" and hasattr(trt, "IPluginV3"):
        return
    raise BackendError(
        "cannot register plugins",
        wanted="TensorRT 10 or later",
        # TensorRT-RTX ends the process when its parser meets a creator written in Python.
        found=f"{trt.__name__} {trt.__version__}",
        hint="use engines without plugins",
    )


def _register(trt: Any, creator: Any) -> None:
    registry = trt.get_plugin_registry()
    there = registry.get_creator(creator.name, VERSION, NAMESPACE)
    if there is not None and getattr(there, "kernels", None) == creator.kernels:
        return
    if there is not None or not registry.register_creator(creator, NAMESPACE):
        raise EngineError(
            f"cannot register the plugin of {creator.name}",
            wanted="one bundle's kernels in a process",
            found="another's are registered",
            hint="run the other bundle in another process",
        )
