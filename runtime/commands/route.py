"""`lorair-run route`: what the router sees in pictures."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime.commands import options
from lorair.runtime.errors import LorairError, OptionError, as_lorair_error
from lorair.runtime.system import console

if TYPE_CHECKING:
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.routing.route import Route

_BAR_WIDTH = 40


def route(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...", help="Pictures and folders to route.", parser=options.input_path
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to save the route to, or the folder for several routes.",
        ),
    ] = None,
    bundle: options.BundleOption = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also route the pictures in subfolders.")
    ] = False,
    pattern: options.GlobOption = None,
    max_pixels: options.MaxPixelsOption = options.MAX_PIXELS,
    as_json: console.JsonOption = False,
) -> None:
    """Show which degradations the router sees in pictures, and save that for `infer --route`.

    The exit code is 1 if some of several pictures failed.
    """
    from lorair.runtime.folders.left_out import LeftOut, summary
    from lorair.runtime.folders.plan import expand
    from lorair.runtime.restorer import Restorer

    left_out: list[LeftOut[Path]] = []
    found_in = list(expand(inputs, output, left_out, recursive=recursive, pattern=pattern))
    is_alone = len(found_in) == 1
    targets = _targets(found_in, output, is_file=is_alone and not inputs[0].is_dir())
    restorer = Restorer.open(bundle, backend, threads)
    entries: list[dict[str, Any]] = []
    errors: list[LorairError] = []
    for (source, _), target in zip(found_in, targets, strict=True):
        try:
            found = _route_file(restorer, source, target, max_pixels)
        except Exception as error:
            if is_alone:
                raise
            errors.append(as_lorair_error(error, f"cannot route {source}"))
            entries.append({"input": str(source), "error": errors[-1].line()})
            continue
        entries.append(_entry(source, target, found))
        if not as_json:
            _show(source, target, found)
    if as_json:
        others = [one.to_dict() for one in left_out]
        console.print_json({"bundle": str(bundle), "pictures": entries, "left_out": others})
    elif left_out:
        console.note(summary(left_out))
    options.print_errors(errors)
    if code := options.exit_code(errors, len(found_in)):
        raise typer.Exit(code)


def _targets(
    found: list[tuple[Path, Path]], output: Path | None, *, is_file: bool
) -> list[Path | None]:
    """Where each route is saved, checked before any work. found: pictures, and their folders."""
    from lorair.runtime.routing.file import ENDING

    if output is None:
        return [None] * len(found)
    if is_file and not output.is_dir():
        targets = [output]
    elif output.is_file():
        raise OptionError("--output", wanted="a folder", found=f"the file {output}")
    else:
        stems = Counter((folder, source.stem) for source, folder in found)
        targets = [
            output / folder / f"{s.name if stems[folder, s.stem] > 1 else s.stem}{ENDING}"
            for s, folder in found
        ]
    console.check_outputs(targets, [source for source, _ in found])
    return list(targets)


def _route_file(
    restorer: "Restorer", source: Path, target: Path | None, max_pixels: int
) -> "Route":
    from lorair.runtime.files import Handling
    from lorair.runtime.routing import file as route_file

    with console.status(f"routing {source.name}"):
        found = restorer.route(Handling(max_pixels).read(source).pixels)
    if target is not None:
        route_file.save(target, found, restorer.bundle, source.name)
    return found


def _entry(source: Path, target: Path | None, found: "Route") -> dict[str, Any]:
    return {
        "input": str(source),
        "output": None if target is None else str(target),
        **found.to_dict(),
    }


def _show(source: Path, target: Path | None, found: "Route") -> None:
    from rich.bar import Bar

    out = console.stdout()
    out.print(f"{source}" + (f" -> {target}" if target is not None else ""), soft_wrap=True)
    table = console.table("class", "", ">probability", ">gate", ">logit")
    for name, probability, gate, logit in zip(
        found.classes, found.probabilities, found.gates, found.logits, strict=True
    ):
        bar = Bar(1.0, 0.0, float(probability), width=_BAR_WIDTH)
        table.add_row(name, bar, f"{probability:.3f}", f"{gate:.3f}", f"{logit:.2f}")
    out.print(table)
    for doubt in found.doubts():
        console.note(f"{source}: {doubt}")
