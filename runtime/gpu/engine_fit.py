"""Which engines of a bundle run here, and what exactly differs for the others.

An engine is tied to the library's version, to the GPU or its compute capability, and to a
range of picture sizes. Nothing here needs TensorRT or a GPU.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from lorair.runtime.bundle.engines import (
    GRAPHS,
    Branch,
    Depends,
    Engine,
    Flavour,
    Range,
    read_engines,
)
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BackendError
from lorair.runtime.gpu.driver import GpuInfo, examine

MODULES: Final[dict[Flavour, str]] = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
"""The module of each flavour."""

_RTX_DEFAULT: Final = (80, 86, 87, 88, 89, 120, 121)
"""Compute capabilities that TensorRT-RTX builds for when it is not told."""


def misfit(depends: Depends, library: str, gpu: GpuInfo) -> str | None:
    """What differs between what an engine needs and what is here; None if it fits.

    Args:
        depends: of the engine.
        library: the installed version of its flavour.
        gpu: that is here.
    """
    if depends.version != library:
        return f"it was built with {depends.flavour} {depends.version}, here is {library}"
    if depends.device is not None and depends.device != gpu.target:
        return f"it was built on and for {depends.device}, here is {gpu.target}"
    sms = depends.sms or (_RTX_DEFAULT if depends.flavour == "tensorrt-rtx" else (gpu.sm,))
    if gpu.sm not in sms:
        wanted = " or ".join(_dotted(sm) for sm in sms)
        return f"it is for compute capability {wanted}, this GPU has {_dotted(gpu.sm)}"
    return None


def fitting(
    bundle: Bundle, flavour: Flavour, library: str, gpu: GpuInfo
) -> dict[Branch, list[Engine]]:
    """The engines of each branch that run here, at least one of each.

    Raises BackendError: a branch has none, saying what differs and what builds the right one.
    """
    found: dict[Branch, list[Engine]] = {branch: [] for branch in GRAPHS}
    reasons: list[str] = []
    for engine in read_engines(bundle):
        if engine.record is None:
            reasons.append(str(engine.error))
            continue
        depends = engine.record.depends
        if depends.flavour == flavour:
            reason = misfit(depends, library, gpu)
            if reason is None:
                found[depends.branch].append(engine)
            else:
                reasons.append(f"{engine.path.name}: {reason}")
    missing = [branch for branch, engines in found.items() if not engines]
    if missing:
        raise BackendError(
            f"no engine of {bundle.path} for the {' and the '.join(missing)} fits",
            wanted=f"{flavour} {library}, {gpu.target}",
            found="; ".join(reasons) or f"no engine of {flavour}",
            hint=f"`lorair-export engine {bundle.path} --flavour {flavour}` builds one",
        )
    return found


def misfit_here(depends: Depends) -> str | None:
    """What differs between what an engine needs and this machine; None if it fits."""
    driver = examine()
    if isinstance(driver, str) or not driver.gpus:
        return "there is no GPU"
    library = installed(depends.flavour)
    if library is None:
        return f"{depends.flavour} is not installed"
    return misfit(depends, library, driver.gpus[0])


def misfit_of(bundle: Bundle, flavour: Flavour) -> str | None:
    """Why a bundle cannot run on engines of a flavour here; None if it can."""
    driver, library = examine(), installed(flavour)
    if isinstance(driver, str) or not driver.gpus:
        return "there is no GPU"
    if library is None:
        return f"{flavour} is not installed"
    try:
        fitting(bundle, flavour, library, driver.gpus[0])
    except BackendError as error:
        return error.line()
    return None


def installed(flavour: Flavour) -> str | None:
    """The version of a flavour's library; None if it is not installed."""
    try:
        return version(MODULES[flavour]).partition(".post")[0]
    except PackageNotFoundError:
        return None


def image_range(engine: Engine) -> Range:
    """The picture sizes that a restorer's engine takes, (1, 3, H, W)."""
    assert engine.record is not None
    return engine.record.depends.profile["image"]


def takes(engine: Engine, height: int, width: int) -> bool:
    """Whether a restorer's engine takes a padded size."""
    shapes = image_range(engine)
    return shapes.min[2] <= height <= shapes.max[2] and shapes.min[3] <= width <= shapes.max[3]


def area(engine: Engine) -> int:
    """Pixels of the largest picture that a restorer's engine takes."""
    height, width = image_range(engine).max[2:]
    return height * width


def _dotted(sm: int) -> str:
    return f"{sm // 10}.{sm % 10}"
