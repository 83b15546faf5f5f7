"""Bundle to model repository: four models and the ensemble that joins them.

NAME_prepare    picture -> views and planes                 onnxruntime, on the CPU
NAME_router     views -> logits, prior, gates
NAME_restorer   planes, prior, gates -> restored planes
NAME_finish     restored planes -> picture                  onnxruntime, on the CPU
NAME            all of it
"""

import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from lorair.exporter.triton_server import graphs
from lorair.exporter.triton_server.config import ANY, Constant, Message, model, render, step, tensor
from lorair.runtime.bundle.engines import GRAPHS, Branch, Engine, read_engines
from lorair.runtime.bundle.manifest import RESTORER, ROUTER, Bundle, Manifest
from lorair.runtime.errors import BundleError, OptionError, OutputError
from lorair.runtime.system.atomic import atomic_folder, check_writable
from lorair.runtime.system.console import lorair_version

Backend = Literal["onnxruntime", "tensorrt"]

BACKENDS: Final[tuple[Backend, ...]] = ("onnxruntime", "tensorrt")
CONFIG: Final = "config.pbtxt"
VERSION: Final = "1"
"""The folder of a model's files; Triton wants a number."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FILES: Final[dict[Backend, str]] = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}


@dataclass(frozen=True)
class Part:
    """A folder of the repository. fill: writes its files, but for the configuration."""

    config: Message
    fill: Callable[[Path], None]

    @property
    def name(self) -> str:
        """Name of the model and its folder."""
        return str(self.config["name"])


def parts(bundle: Bundle, name: str = "lorair", backend: Backend = "onnxruntime") -> list[Part]:
    """Return the models of a bundle; the ensemble, which needs the others, comes last.

    The others' names begin with the ensemble's. Router and restorer run on the backend.

    Raises OptionError: no name for a folder.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(
            "--name", wanted="letters, digits, '_', '-' and '.'", found=name or "nothing"
        )
    info = bundle.manifest.model
    side, experts, prior = info.clip_side, info.experts, info.prior
    image, size = tensor("image", "UINT8", (ANY, ANY, 3)), tensor("size", "INT64", (2,))
    views = tensor("views", "FP32", (1, 5, 3, side, side))
    logits, gates = (tensor(name, "FP32", (1, experts)) for name in ("logits", "gates"))
    route = [logits, tensor("prior", "FP32", (1, prior)), gates]
    guidance = [route[1], tensor("gates", "FP32", (1, experts), inner=(experts,))]
    picture = [tensor("restored", "UINT8", (ANY, ANY, 3)), tensor("is_finite", "BOOL", (1,))]
    networks = _runs_on(backend, "GPU" if backend == "tensorrt" else "AUTO")
    pictures = _runs_on("onnxruntime", "CPU")
    prepare, router, restorer, finish = (
        model(f"{name}_prepare", [image], [views, _planes("planes"), size], **pictures),
        model(f"{name}_router", [views], route, **networks),
        model(f"{name}_restorer", [_planes("image"), *guidance], [_planes("restored")], **networks),
        model(f"{name}_finish", [_planes("planes"), size], picture, **pictures),
    )
    padded = "restored_planes"
    steps = [
        step(prepare["name"], _same("image"), _same("views", "planes", "size")),
        step(router["name"], _same("views"), _same("logits", "prior", "gates")),
        step(
            restorer["name"], {"image": "planes", **_same("prior", "gates")}, {"restored": padded}
        ),
        step(finish["name"], {"planes": padded, **_same("size")}, _same("restored", "is_finite")),
    ]
    ensemble = model(
        name,
        [image],
        [*picture, *route],
        platform="ensemble",
        ensemble_scheduling={"step": steps},
        parameters=_parameters(bundle.manifest),
    )
    return [
        Part(prepare, partial(_write_graph, graphs.prepare(side, info.stride))),
        Part(router, partial(_write_branch, bundle, "router", backend)),
        Part(restorer, partial(_write_branch, bundle, "restorer", backend)),
        Part(finish, partial(_write_graph, graphs.finish())),
        Part(ensemble, partial(_write_ensemble, bundle, name, backend, steps)),
    ]


def _runs_on(backend: Backend, processor: str) -> Message:
    group = {"count": 1, "kind": Constant(f"KIND_{processor}")}
    return {"backend": backend, "instance_group": group}


def _planes(name: str) -> Message:
    return tensor(name, "FP32", (1, 3, ANY, ANY))


def _same(*names: str) -> dict[str, str]:
    """Tensors whose name in the ensemble is their own."""
    return {name: name for name in names}


def _parameters(manifest: Manifest) -> list[Message]:
    """What clients can ask of the ensemble."""
    values = {
        "classes": ",".join(manifest.model.classes),
        "precision": manifest.precisions,
        "bundle": manifest.digest,
    }
    return [{"key": key, "value": {"string_value": text}} for key, text in values.items()]


def write(repository: list[Part], output: Path, *, force: bool = False) -> list[Path]:
    """Write the models' folders into a model repository, which may hold other models.

    On any error none of them has changed. With `force` models of these names are replaced.

    Returns:
        the folders, the ensemble's last.

    Raises:
        OutputError: `output` cannot be written, or holds models of these names.
        BundleError: no engine for Triton's tensorrt backend.
    """
    check_writable(output)
    folders = [output / part.name for part in repository]
    if not force:
        _check_free(folders)
    # All are complete before the first is renamed; the stack renames the ensemble's last.
    with ExitStack() as stack:
        unfinished = [stack.enter_context(atomic_folder(folder)) for folder in reversed(folders)]
        for part, folder in zip(repository, reversed(unfinished), strict=True):
            (folder / VERSION).mkdir()
            (folder / CONFIG).write_text(render(part.config), "utf-8")
            part.fill(folder)
    return folders


def _check_free(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists():
            raise OutputError(
                f"cannot write the model {folder}",
                wanted="a free place",
                found="a file" if folder.is_file() else "a folder",
                hint="choose another --name, or replace it with --force",
            )


def _write_graph(graph: Any, folder: Path) -> None:
    (folder / VERSION / _FILES["onnxruntime"]).write_bytes(graph.SerializeToString())


def _write_branch(bundle: Bundle, branch: Branch, backend: Backend, folder: Path) -> None:
    """The bundle's own graph and weights, or its engine."""
    target = folder / VERSION / _FILES[backend]
    if backend == "tensorrt":
        target.write_bytes(find_engine(bundle, branch).read())
        return
    graph = bundle.path / GRAPHS[branch]
    shutil.copyfile(graph, target)
    weights = graph.with_name(f"{graph.name}.data")  # the graph names it
    if weights.exists():
        shutil.copyfile(weights, target.with_name(weights.name))


def _write_ensemble(
    bundle: Bundle, name: str, backend: Backend, steps: list[Message], folder: Path
) -> None:
    # Triton wants the folder of a version, object stores and archives drop empty ones.
    (folder / VERSION / ".keep").touch()
    models = "\n".join(f"- `{step['model_name']}`" for step in steps)
    (folder / "README.md").write_text(_readme(bundle.manifest, name, backend, models), "utf-8")


def find_engine(bundle: Bundle, branch: Branch) -> Engine:
    """Return the branch's engine for Triton's tensorrt backend.

    TensorRT's, not TensorRT-RTX's; of one picture and any route; without plugins, which the
    server would have to be started with (docs/tensorrt.md).

    Raises BundleError: there is none, or there are several.
    """
    fitting = [
        engine
        for engine in read_engines(bundle)
        if engine.record is not None
        and engine.record.depends.branch == branch
        and engine.record.depends.flavour == "tensorrt"
        and engine.record.depends.batch == 1
        and engine.record.depends.kernels is None
        and engine.record.depends.gates is None
    ]
    if len(fitting) != 1:
        raise BundleError(
            f"cannot serve {bundle.path} with Triton's tensorrt backend",
            wanted=f"one TensorRT engine of the {branch}, for any route, without plugins",
            found=", ".join(engine.path.name for engine in fitting) or "none",
            hint="build it with `lorair-export engine --flavour tensorrt --routes any`"
            if not fitting
            else "move the others out of the bundle's engines/",
        )
    return fitting[0]


def _readme(manifest: Manifest, name: str, backend: Backend, models: str) -> str:
    return f"""# {name}

A lorair bundle as an ensemble for NVIDIA's Triton Inference Server, written by lorair \
{lorair_version()}.

- classes: {", ".join(manifest.model.classes)}; precision: {manifest.precisions}
- bundle: `{manifest.digest}`
- graphs: {ROUTER} and {RESTORER} of the bundle, run by {backend}

It needs the models beside it:

{models}

Input `image` (height, width, 3) uint8 RGB. Outputs `restored`, the same; `is_finite`: if it is
false, `restored` is no picture; `logits`, `prior`, `gates`: the route. Ask for what is wanted.
`{name}_restorer` can be called by itself with other gates.
"""
