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
from lorair.exporter.triton_server.config import ANY, Ensemble, Model, Step, Tensor
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
class Repository:
    """The models of a bundle, ready to be written."""

    bundle: Bundle
    prepare: Model
    router: Model
    restorer: Model
    finish: Model
    ensemble: Ensemble

    @property
    def names(self) -> list[str]:
        """The folders, in the order in which they are written: who needs others comes last."""
        parts = (self.prepare, self.router, self.restorer, self.finish, self.ensemble)
        return [part.name for part in parts]


def plan(bundle: Bundle, name: str = "lorair", backend: Backend = "onnxruntime") -> Repository:
    """The models of a bundle.

    Args:
        bundle: to be served.
        name: of the ensemble, and the beginning of the others' names.
        backend: of router and restorer.

    Raises:
        OptionError: no name for a folder.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(
            "--name", wanted="letters, digits, '_', '-' and '.'", found=name or "nothing"
        )
    model = bundle.manifest.model
    side, experts, prior = model.clip_side, model.experts, model.prior
    image = Tensor("image", "UINT8", (ANY, ANY, 3))
    views = Tensor("views", "FP32", (1, 5, 3, side, side))
    size = Tensor("size", "INT64", (2,))
    route = (
        Tensor("logits", "FP32", (1, experts)),
        Tensor("prior", "FP32", (1, prior)),
        Tensor("gates", "FP32", (1, experts)),
    )
    guidance = (route[1], Tensor("gates", "FP32", (1, experts), inner=(experts,)))
    picture = (Tensor("restored", "UINT8", (ANY, ANY, 3)), Tensor("is_finite", "BOOL", (1,)))
    kind: Any = "KIND_GPU" if backend == "tensorrt" else "KIND_AUTO"
    prepare = Model(
        f"{name}_prepare", "onnxruntime", (image,), (views, _planes("planes"), size), "KIND_CPU"
    )
    router = Model(f"{name}_router", backend, (views,), route, kind)
    restorer = Model(
        f"{name}_restorer", backend, (_planes("image"), *guidance), (_planes("restored"),), kind
    )
    finish = Model(f"{name}_finish", "onnxruntime", (_planes("planes"), size), picture, "KIND_CPU")
    steps = (
        Step(prepare, _same("image"), _same("views", "planes", "size")),
        Step(router, _same("views"), _same("logits", "prior", "gates")),
        Step(
            restorer,
            {"image": "planes", **_same("prior", "gates")},
            {"restored": "restored_planes"},
        ),
        Step(
            finish,
            {"planes": "restored_planes", **_same("size")},
            _same("restored", "is_finite"),
        ),
    )
    ensemble = Ensemble(name, (image,), (*picture, *route), steps, _parameters(bundle.manifest))
    return Repository(bundle, prepare, router, restorer, finish, ensemble)


def _planes(name: str) -> Tensor:
    return Tensor(name, "FP32", (1, 3, ANY, ANY))


def _same(*names: str) -> dict[str, str]:
    """Tensors whose name in the ensemble is their own."""
    return {name: name for name in names}


def _parameters(manifest: Manifest) -> dict[str, str]:
    return {
        "classes": ",".join(manifest.model.classes),
        "precision": manifest.precisions,
        "bundle": manifest.digest,
    }


def write(repository: Repository, output: Path, *, force: bool = False) -> list[Path]:
    """Write the models' folders; on any error none of them has changed.

    Args:
        repository: of `plan`.
        output: the model repository's folder, which may hold other models.
        force: whether models of these names are replaced.

    Returns:
        the folders, the ensemble's last.

    Raises:
        OutputError: `output` cannot be written, or holds models of these names.
        BundleError: no engine for Triton's tensorrt backend.
    """
    check_writable(output)
    folders = [output / name for name in repository.names]
    if not force:
        _check_free(folders)
    # All are complete before the first is renamed; the stack renames the ensemble's last.
    with ExitStack() as stack:
        unfinished = [stack.enter_context(atomic_folder(folder)) for folder in reversed(folders)]
        contents = zip(reversed(unfinished), _contents(repository), strict=True)
        for folder, (part, fill) in contents:
            (folder / VERSION).mkdir()
            (folder / CONFIG).write_text(part.render(), "utf-8")
            fill(folder)
    return folders


def _contents(repository: Repository) -> list[tuple[Model | Ensemble, Callable[[Path], None]]]:
    """Each model, in the order of `names`, and what writes its files into a folder."""
    r, model = repository, repository.bundle.manifest.model
    return [
        (r.prepare, partial(_write_graph, graphs.prepare(model.clip_side, model.stride))),
        (r.router, partial(_write_branch, r.bundle, "router", r.router.backend)),
        (r.restorer, partial(_write_branch, r.bundle, "restorer", r.restorer.backend)),
        (r.finish, partial(_write_graph, graphs.finish())),
        (r.ensemble, partial(_write_ensemble, r)),
    ]


def _check_free(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists():
            raise OutputError(
                f"cannot write the model {folder}",
                wanted="a free place",
                found="a file" if folder.is_file() else "a folder",
                hint="choose another --name, or replace it with --force",
            )


def _write_graph(model: Any, folder: Path) -> None:
    (folder / VERSION / _FILES["onnxruntime"]).write_bytes(model.SerializeToString())


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


def _write_ensemble(repository: Repository, folder: Path) -> None:
    # Triton wants the folder of a version, object stores and archives drop empty ones.
    (folder / VERSION / ".keep").touch()
    (folder / "README.md").write_text(_readme(repository), "utf-8")


def find_engine(bundle: Bundle, branch: Branch) -> Engine:
    """The branch's engine for Triton's tensorrt backend.

    TensorRT's, not TensorRT-RTX's; of one picture; without plugins, which would need Python.

    Raises:
        BundleError: there is none, or there are several.
    """
    fitting = [
        engine
        for engine in read_engines(bundle)
        if engine.record is not None
        and engine.record.depends.branch == branch
        and engine.record.depends.flavour == "tensorrt"
        and engine.record.depends.batch == 1
        and engine.record.depends.kernels is None
    ]
    if len(fitting) != 1:
        raise BundleError(
            f"cannot serve {bundle.path} with Triton's tensorrt backend",
            wanted=f"one TensorRT engine of the {branch}, for one picture and without plugins",
            found=", ".join(engine.path.name for engine in fitting) or "none",
            hint="build it with `lorair-export engine --flavour tensorrt`"
            if not fitting
            else "move the others out of the bundle's engines/",
        )
    return fitting[0]


def _readme(repository: Repository) -> str:
    manifest, name = repository.bundle.manifest, repository.ensemble.name
    models = "\n".join(f"- `{other}`" for other in repository.names[:-1])
    return f"""# {name}

A lorair bundle as an ensemble for NVIDIA's Triton Inference Server, written by lorair \
{lorair_version()}.

- classes: {", ".join(manifest.model.classes)}; precision: {manifest.precisions}
- bundle: `{manifest.digest}`
- graphs: {ROUTER} and {RESTORER} of the bundle, run by {repository.router.backend}

It needs the models beside it:

{models}

Input `image` (height, width, 3) uint8 RGB. Outputs `restored`, the same; `is_finite`: if it is
false, `restored` is no picture; `logits`, `prior`, `gates`: the route. Ask for what is wanted.
`{name}_restorer` can be called by itself with other gates.
"""
