"""The libraries that build engines, and the GPU that TensorRT builds on."""

from importlib import import_module
from typing import Any, Final

from lorair.exporter.engines import AUTO
from lorair.runtime.bundle.engines import Flavour
from lorair.runtime.errors import DependencyError, OptionError
from lorair.runtime.gpu.driver import examine, missing_gpu
from lorair.runtime.gpu.engine_fit import MODULES
from lorair.runtime.system.extras import install_command, require
from lorair.runtime.system.machine import is_installed

_EXTRAS: Final[dict[Flavour, str]] = {"tensorrt-rtx": "rtx", "tensorrt": "tensorrt"}


def choose(flavour: str, option: str = "--flavour") -> Flavour:
    """Return the flavour that an option names; `auto` prefers the one that builds anywhere.

    Raises:
        OptionError: there is no such flavour.
        DependencyError: it is not installed.
    """
    if flavour not in (AUTO, *MODULES):
        raise OptionError(option, wanted=f"{AUTO} or one of {', '.join(MODULES)}", found=flavour)
    asked = [name for name in MODULES if flavour in (AUTO, name)]
    chosen = next((name for name in asked if is_installed(MODULES[name])), asked[0])
    require("build engines", f"export,{_EXTRAS[chosen]}", MODULES[chosen])
    return chosen


def load(flavour: Flavour) -> Any:
    """Return the library's module. Raises DependencyError if it is not whole."""
    try:
        return import_module(MODULES[flavour])
    except (ImportError, OSError) as error:  # installed, but some of its libraries are not
        raise DependencyError(
            "cannot build engines",
            wanted=f"the package {flavour}",
            found=str(error),
            hint=install_command(f"export,{_EXTRAS[flavour]}"),
        ) from error


def checked_sms(library: Any, flavour: Flavour, sms: tuple[int, ...]) -> tuple[int, ...]:
    """Return compute capabilities in order, each once. Raises OptionError if one cannot be."""
    if not sms:
        return ()
    if flavour == "tensorrt":
        raise OptionError(
            "--sm",
            wanted="nothing: TensorRT builds for the GPU that it runs on",
            found=" ".join(map(str, sms)),
            hint="build on that GPU, or use --flavour tensorrt-rtx",
        )
    members = library.ComputeCapability.__members__
    known = sorted(int(name[2:]) for name in members if name.startswith("SM"))
    for sm in sms:
        if sm not in known:
            raise OptionError("--sm", wanted=f"one of {', '.join(map(str, known))}", found=str(sm))
    return tuple(sorted(set(sms)))


def device() -> str:
    """Return the GPU and system that TensorRT builds on and for.

    Raises DependencyError: there is none.
    """
    found = examine()
    if isinstance(found, str) or not found.gpus:
        raise DependencyError(
            "cannot build a TensorRT engine",
            wanted="the GPU that is to run it, and its driver",
            found=missing_gpu(),
            hint="TensorRT-RTX needs no GPU to build: --flavour tensorrt-rtx",
        )
    return found.gpus[0].target
