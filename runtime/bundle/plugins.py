"""Libraries of TensorRT plugins in a bundle, by the major version that loads them.

`plugins/liblorair-trt10.so` holds the bundle's kernels, `plugins/liblorair-trt10.json` is its
record, which comes last: a library without one was not finished. A library is a program, so
only one whose content is the record's is loaded. Nothing here needs TensorRT.
"""

from pathlib import Path

from pydantic import ValidationError

from lorair.runtime.bundle import files
from lorair.runtime.bundle.kernels import Sm
from lorair.runtime.bundle.manifest import Bundle
from lorair.runtime.errors import BundleError


class PluginDepends(files.Stored):
    """All that a library depends on.

    kernels: sha256 of the index of its kernels. source: of what was compiled. headers: the
    version of TensorRT's, as in 10.14.1. sms: compute capabilities that it has cubins for.
    """

    kernels: files.Sha256
    source: files.Sha256
    headers: str
    sms: tuple[Sm, ...]


class PluginRecord(files.Stored):
    """`liblorair-trtN.json`. sha256, size: of the library."""

    created_by: str
    depends: PluginDepends
    sha256: files.Sha256
    size: files.Size


def plugin_path(bundle: Bundle, major: int) -> Path:
    """Return where the library for a major version of TensorRT lies or would lie."""
    return bundle.path / files.PLUGINS / f"liblorair-trt{major}.so"


def read_record(library: Path) -> PluginRecord:
    """Return a library's record, the library being as it says.

    Raises BundleError: no library, or a damaged one.
    """
    try:
        record = PluginRecord.model_validate(files.read_json(library.with_suffix(".json")))
    except FileNotFoundError:
        raise _unusable(library, "the library and its record", "none") from None
    except (ValidationError, ValueError, OSError, RecursionError) as error:
        raise _unusable(library, "a record as in docs/tensorrt.md", str(error)[:80]) from None
    if files.regular_size(library) != record.size or files.sha256(library) != record.sha256:
        raise _unusable(library, "the library as it was built", "other content or none")
    return record


def find_plugin(bundle: Bundle, major: int, kernels: str) -> Path:
    """Return the library that engines with plugins load.

    Args:
        bundle: whose engines they are.
        major: of the TensorRT that is here.
        kernels: sha256 of the index of the kernels that they launch.

    Raises:
        BundleError: it is missing, damaged or of other kernels.
    """
    path = plugin_path(bundle, major)
    found = read_record(path).depends
    if found.kernels != kernels:
        wanted, there = (
            f"one with the kernels {digest[:12]}" for digest in (kernels, found.kernels)
        )
        raise _unusable(path, wanted, there)
    return path


def _unusable(path: Path, wanted: str, found: str) -> BundleError:
    return BundleError(
        f"cannot use the plugins {path}",
        wanted=wanted,
        found=found,
        hint=f"`lorair-export plugin {path.parents[1]}` builds them",
    )
