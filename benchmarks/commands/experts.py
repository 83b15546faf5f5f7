"""The command `lorair-bench experts`."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from lorair.benchmarks.commands.options import (
    DEFAULT_SIZES,
    PresetOption,
    ReportOption,
    RoundsOption,
    SizesOption,
    parse_sizes,
)
from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

_EXPERTS: Final = [1, 2, 4, 8, 16]
_TOP_K: Final = [1, 2, 4]


def experts(
    counts: Annotated[
        list[int],
        typer.Option("--experts", min=1, max=256, help="Number of experts. Repeatable."),
    ] = _EXPERTS,
    top_ks: Annotated[
        list[int],
        typer.Option("--top-k", min=1, help="Number of gates that are not 0. Repeatable."),
    ] = _TOP_K,
    sizes: SizesOption = DEFAULT_SIZES,
    preset: PresetOption = "tiny",
    rounds: RoundsOption = 10,
    threads: options.ThreadsOption = None,
    backend: Annotated[
        str, typer.Option(help="Backend to time: onnxruntime, openvino or openvino-bf16.")
    ] = "onnxruntime",
    report: ReportOption = None,
    as_json: console.JsonOption = False,
) -> None:  # fmt: skip
    """Measure what a mixture of experts costs, merged beforehand or by gates in the graph.

    The network is a random one of the preset's shape. Its router, the same for every mixture,
    is not timed.
    """
    from lorair.runtime.restorer import check_count

    console.check_outputs([report] if report else [], [])
    mixtures = _mixtures(counts, top_ks)
    _check(backend)
    check_count("threads", threads)
    from lorair.benchmarks.commands.measuring import result
    from lorair.benchmarks.experts.measure import FormSession, Sweep, measure
    from lorair.benchmarks.schema.costs import ExpertsReport
    from lorair.benchmarks.tables.costs import experts_shown
    from lorair.exporter.checkpoint.synth import preset as find_preset
    from lorair.runtime.system.machine import default_threads

    find_preset(preset)
    # Ascending: peak memory up to a size is then that size's.
    parsed = sorted(set(parse_sizes(sizes)), key=lambda size: size.height * size.width)
    sweep, session = Sweep(preset, mixtures, tuple(parsed), rounds, backend, threads), FormSession()
    settings = {
        "rounds": rounds, "threads": threads or default_threads(),
        "experts": ", ".join(map(str, mixtures)), "sizes": ", ".join(map(str, parsed)),
    }  # fmt: skip
    with result(
        ExpertsReport, session.fields, experts_shown, report, as_json, preset=preset,
        backend=backend, settings=settings,
    ):  # fmt: skip
        measure(sweep, session)


def _mixtures(counts: Sequence[int], top_ks: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """For each number of experts the top_k that it can have."""
    wanted = sorted(set(top_ks))
    found = {count: tuple(k for k in wanted if k <= count) for count in sorted(set(counts))}
    lacking = [str(count) for count, possible in found.items() if not possible]
    if lacking:
        raise OptionError(
            "--top-k",
            wanted=f"at most the number of experts, also for {' and '.join(lacking)}",
            found=", ".join(map(str, wanted)),
            hint="add --top-k 1",
        )
    return found


def _check(backend: str) -> None:
    """Checked before minutes of export."""
    from lorair.exporter.commands.options import require

    require("torch", "onnx", "onnxscript", "onnxruntime", "safetensors")
    from lorair.benchmarks.timing.graphs import TARGETS
    from lorair.runtime.backends import BACKENDS
    from lorair.runtime.errors import BackendError, DependencyError

    if backend not in TARGETS:
        raise BackendError(
            f"cannot time the forms of a mixture on {backend!r}",
            wanted=f"one of {', '.join(TARGETS)}",
            found=backend,
            hint="only these can merge the experts of a route",
        )
    kind = BACKENDS[backend]
    if reason := kind.missing():
        raise DependencyError(
            f"cannot run {backend}", wanted=backend, found=reason, hint=kind.install_command
        )
