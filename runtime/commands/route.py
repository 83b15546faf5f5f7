"""`lorair-run route`: what the router sees in pictures."""

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
        typer.Argument(metavar="PICTURE...", help="Pictures to route.", parser=options.input_path),
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
    max_pixels: options.MaxPixelsOption = options.MAX_PIXELS,
    as_json: console.JsonOption = False,
) -> None:
    """Show which degradations the router sees in pictures, and save that for `infer --route`.

    The exit code is 1 if some of several pictures failed.
    """
    from lorair.runtime.restorer import Restorer

    targets = _targets(inputs, output)
    restorer = Restorer.open(bundle, backend, threads)
    entries: list[dict[str, Any]] = []
    errors: list[LorairError] = []
    for source, target in zip(inputs, targets, strict=True):
        try:
            found = _route_file(restorer, source, target, max_pixels)
        except Exception as error:
            if len(inputs) == 1:
                raise
            errors.append(as_lorair_error(error, f"cannot route {source}"))
            entries.append({"input": str(source), "error": errors[-1].line()})
            continue
        entries.append(_entry(source, target, found))
        if not as_json:
            _show(source, target, found)
    if as_json:
        console.print_json({"bundle": str(bundle), "pictures": entries})
    options.print_errors(errors)
    if code := options.exit_code(errors, len(inputs)):
        raise typer.Exit(code)


def _targets(inputs: list[Path], output: Path | None) -> list[Path | None]:
    """Where each route is saved, checked before any work."""
    from lorair.runtime.routing.file import ENDING

    if output is None:
        return [None] * len(inputs)
    if len(inputs) == 1 and not output.is_dir():
        targets = [output]
    elif output.is_file():
        raise OptionError("--output", wanted="a folder", found=f"the file {output}")
    else:
        targets = [output / f"{source.stem}{ENDING}" for source in inputs]
    console.check_outputs(targets, inputs)
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
        **found.confidence(),
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
