"""The folder: both graphs, what they take of real photographs, units to compare in, commands."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Final

import numpy as np

from lorair.exporter.graphs.inlined import write_restorer, write_router
from lorair.runtime import images
from lorair.runtime.backends import select
from lorair.runtime.bundle.manifest import RESTORER, ROUTER, Bundle
from lorair.runtime.errors import OutputError
from lorair.runtime.pixels import make_views, to_planes
from lorair.runtime.system.atomic import atomic_folder, check_writable
from lorair.runtime.system.console import lorair_version, step

_HERE: Final = Path(__file__).parent
_COPIED: Final = ("data.py", "units.py", "rtx_config.py")

_AS_TENSORRT: Final = '''"""TensorRT-RTX by the name that `polygraphy inspect` 0.53 imports."""

import sys

import tensorrt_rtx

sys.modules[__name__] = tensorrt_rtx
'''


def write(bundle: Bundle, output: Path, photographs: Sequence[Path]) -> None:
    """Write the folder; what is in it needs neither lorair nor PyTorch.

    Args:
        bundle: of any precision.
        output: new or empty.
        photographs: pictures of any size, to compare on.

    Raises:
        OutputError: `output` cannot be written, or holds something.
        PictureError: a picture cannot be read.
    """
    _check_free(output)
    bundle.verify()
    with atomic_folder(output) as folder:
        with step(f"write {ROUTER} and {RESTORER}"):
            write_router(bundle, folder / ROUTER)
            write_restorer(bundle, folder / RESTORER)
        with step(f"route {len(photographs)} photographs"):
            _write_inputs(bundle, folder / "inputs", photographs)
        for name in _COPIED:
            shutil.copyfile(_HERE / name, folder / name)
        (folder / "rtx").mkdir()
        (folder / "rtx" / "tensorrt.py").write_text(_AS_TENSORRT, "utf-8")
        (folder / "README.md").write_text(_readme(bundle), "utf-8")


def _check_free(output: Path) -> None:
    check_writable(output)
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise OutputError(
            f"cannot write the folder {output}",
            wanted="a new or empty folder",
            found="a file" if output.is_file() else "a folder with something in it",
            hint="choose another place with -o",
        )


def _write_inputs(bundle: Bundle, folder: Path, photographs: Sequence[Path]) -> None:
    """`NAME.npz` for each photograph: views, image, prior, gates."""
    backend, model = select("onnxruntime", bundle), bundle.manifest.model
    folder.mkdir()
    for path in photographs:
        pixels = images.to_uint8(images.read(path).pixels)
        views = make_views(pixels, model.clip_side)
        _, prior, gates = backend.route(views)
        image = to_planes(pixels, model.stride)
        arrays = {"views": views, "image": image, "prior": prior, "gates": gates[0]}
        np.savez_compressed(folder / f"{path.stem}.npz", **arrays)


def _readme(bundle: Bundle) -> str:
    manifest = bundle.manifest
    model = manifest.model
    sides = f"1,5,3,{model.clip_side},{model.clip_side}"
    return Template(_HERE.joinpath("folder.md").read_text("utf-8")).substitute(
        version=lorair_version(),
        classes=", ".join(model.classes),
        precision=manifest.precisions,
        views=f"views:[{sides}]",
        sides=f"views:{sides}",
        stride=model.stride,
    )
