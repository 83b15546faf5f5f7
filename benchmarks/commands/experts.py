"""The command `lorair-bench experts`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorair.runtime.commands import options
from lorair.runtime.errors import OptionError
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.benchmarks.experts.measure import Session, Sweep
    from lorair.benchmarks.schema import ExpertRow, ExpertsReport

_EXPERTS = (1, 2, 4, 8, 16)
_TOP_K = (1, 2, 4)
_SIZES = ("256x256", "512x512")


def experts(
    counts: Annotated[
        list[int] | None,
        typer.Option("--experts", min=1, max=256, help=f"Repeat for several. {list(_EXPERTS)}"),
    ] = None,
    top_ks: Annotated[
        list[int] | None,
        typer.Option(
            "--top-k", min=1, help=f"Gates that are not 0; repeat for several. {list(_TOP_K)}"
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", metavar="HxW", help="Repeat for several. [256x256, 512x512]"),
    ] = None,
    preset: Annotated[str, typer.Option(help="The network's shape: setting1 or tiny.")] = "tiny",
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 10,
    threads: options.ThreadsOption = None,
    backend: Annotated[
        str, typer.Option(help="onnxruntime, openvino or openvino-bf16.")
    ] = "onnxruntime",
    report: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
    as_json: console.JsonOption = False,
) -> None:
    """What a mixture costs: experts merged beforehand, or by gates in the graph at every run.

    Of a drawn network; its router, the same for all, is not timed.
    """
    if report is not None:
        console.check_report(report, [])
    from lorair.runtime.restorer import check_count

    mixtures = _mixtures(counts or _EXPERTS, top_ks or _TOP_K)
    _check(backend)
    check_count("threads", threads)
    from lorair.benchmarks.experts.measure import Session, Sweep, measure
    from lorair.benchmarks.schema.results_file import kept, to_json
    from lorair.benchmarks.sizes import parse_size
    from lorair.exporter.checkpoint.synth import preset as find_preset

    find_preset(preset)
    # Ascending: peak memory up to a size is then that size's.
    parsed = sorted({parse_size(t) for t in sizes or _SIZES}, key=lambda s: s.height * s.width)
    sweep = Sweep(preset, mixtures, tuple(parsed), rounds, backend, threads)
    start, session = _start(sweep), Session()
    with kept(report, lambda complete: _filled(start, session, complete)):
        measure(sweep, session)
    document = _filled(start, session)
    if as_json:
        console.print_json(to_json(document))
    else:
        _print(document)


def _mixtures(
    counts: "list[int] | tuple[int, ...]", top_ks: "list[int] | tuple[int, ...]"
) -> dict[int, tuple[int, ...]]:
    """For each number of experts the top_k that it can have."""
    found = {
        count: tuple(k for k in sorted(set(top_ks)) if k <= count) for count in sorted(set(counts))
    }
    lacking = [str(count) for count, possible in found.items() if not possible]
    if lacking:
        raise OptionError(
            "--top-k",
            wanted=f"at most the number of experts, {' and '.join(lacking)} too",
            found=", ".join(map(str, sorted(set(top_ks)))),
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
            hint="these merge experts for a route; others always have gates",
        )
    kind = BACKENDS[backend]
    if reason := kind.missing():
        raise DependencyError(
            f"cannot run {backend}", wanted=backend, found=reason, hint=kind.install_command
        )


def _start(sweep: "Sweep") -> "ExpertsReport":
    """The report before anything is measured."""
    from lorair.benchmarks.schema import ExpertsReport
    from lorair.benchmarks.schema.environment import command_line, describe, now
    from lorair.runtime.system.machine import default_threads

    return ExpertsReport(
        command=command_line(),
        date=now(),
        environment=describe(),
        settings={
            "rounds": sweep.rounds,
            "threads": sweep.threads or default_threads(),
            "experts": ", ".join(map(str, sweep.mixtures)),
            "sizes": ", ".join(map(str, sweep.sizes)),
        },
        preset=sweep.preset,
        backend=sweep.backend,
        description="",
        rows=(),
    )


def _filled(
    document: "ExpertsReport", session: "Session", complete: bool = True
) -> "ExpertsReport":
    from lorair.benchmarks.experts.crossover import sentences

    rows = session.rows()
    update = {
        "complete": complete,
        "description": session.description,
        "rows": rows,
        "crossover": sentences(rows),
    }
    return document.model_copy(update=update)


def _print(document: "ExpertsReport") -> None:
    out = console.stdout()
    out.print(
        f"{document.environment.cpu}; {document.description}; {document.preset} network, rank "
        f"{document.rows[0].rank}; {document.settings['rounds']} rounds",
        soft_wrap=True,
    )
    for size in dict.fromkeys(row.size for row in document.rows):
        timed = [row for row in document.rows if row.size == size and row.samples]
        out.print(_table(size, timed))
    for note in dict.fromkeys(f"{r.form}: {r.note}" for r in document.rows if r.form == "fused"):
        out.print(note, soft_wrap=True)
    for sentence in document.crossover:
        out.print(f"• {sentence}", soft_wrap=True)


def _table(size: str, rows: "list[ExpertRow]") -> object:
    table = console.table(
        ">experts", ">top k", "form", ">p50, ms", ">95 %", ">peak MB", ">on disk", ">switch",
        title=f"{size}; milliseconds and MB",
    )  # fmt: skip
    for row in rows:
        assert row.p50 is not None
        assert row.interval is not None
        table.add_row(
            str(row.experts),
            str(row.top_k),
            row.form,
            f"{row.p50 * 1e3:.3g}",
            f"{row.interval.low * 1e3:.3g} to {row.interval.high * 1e3:.3g}",
            _number(row.peak_memory, 1e-6, 0),
            _number(row.bundle_bytes, 1e-6, 2),
            _number(row.switch_seconds, 1e3, 0),
        )
    return table


def _number(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{value * factor:.{digits}f}"
