"""The library of TensorRT plugins with a bundle's kernels inside, in `BUNDLE/plugins/`."""

from pathlib import Path

from lorair.exporter.engines.locked import Built, one_at_a_time
from lorair.kernels.tensorrt.library import compile_library, find_headers, write_source
from lorair.runtime.bundle.files import sha256
from lorair.runtime.bundle.kernels import INDEX
from lorair.runtime.bundle.manifest import KERNELS, Bundle
from lorair.runtime.bundle.plugins import PluginDepends, PluginRecord, plugin_path, read_record
from lorair.runtime.errors import BundleError
from lorair.runtime.system import console
from lorair.runtime.system.atomic import atomic_file

BuiltPlugin = Built[PluginRecord]


def kernels_of(bundle: Bundle) -> str:
    """Return the sha256 of the index of a bundle's kernels, which holds all they depend on.

    Raises BundleError: it has none.
    """
    index = bundle.manifest.files.get(f"{KERNELS}/{INDEX}")
    if index is None:
        raise BundleError(
            f"cannot build plugins for {bundle.path}",
            wanted="a bundle with compiled kernels",
            found="none",
            hint="build the bundle again with --kernels",
        )
    return index.sha256


def build_plugin(
    bundle: Bundle, *, major: int | None = None, sms: tuple[int, ...] = ()
) -> BuiltPlugin:
    """Compile the library, unless the same one is there already.

    Args:
        bundle: that it is added to.
        major: of the TensorRT that loads it; None for that of the headers that are found.
        sms: compute capabilities (89 is 8.9) whose kernels it holds; empty for all there are.

    Raises:
        DependencyError: no headers of this version, no compiler or no cuda.h.
        BundleError: the bundle has no such kernels.
        EngineError: it does not compile.
    """
    kernels, headers = kernels_of(bundle), find_headers(major)
    folder, path = bundle.path / KERNELS, plugin_path(bundle, headers.major)
    source = write_source(folder, kernels, sms)
    depends = PluginDepends(
        kernels=kernels, source=source.digest, headers=headers.version, sms=source.sms
    )
    with one_at_a_time(path.parent):
        there = _there(path)
        if there is not None and there.depends == depends:
            return BuiltPlugin(path, there, fresh=False)
        with console.step(f"compile the plugins for TensorRT {headers.major}"):
            # A library without a record counts as never finished.
            path.with_suffix(".json").unlink(missing_ok=True)
            with atomic_file(path) as partial:
                compile_library(source, folder, partial, headers)
        record = PluginRecord(
            created_by=f"lorair {console.lorair_version()}",
            depends=depends,
            sha256=sha256(path),
            size=path.stat().st_size,
        )
        console.write_json(path.with_suffix(".json"), record.model_dump(mode="json"))
    return BuiltPlugin(path, record, fresh=True)


def _there(path: Path) -> PluginRecord | None:
    try:
        return read_record(path)
    except BundleError:
        return None
