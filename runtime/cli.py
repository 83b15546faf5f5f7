"""lorair-run: restore pictures with a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime import console
from lorair.runtime.errors import (
    LorairError,
    OptionError,
    OutputError,
    PictureError,
    as_lorair_error,
)

if TYPE_CHECKING:
    from lorair.runtime.restorer import Restored, Restorer
    from lorair.runtime.tiled import Progress
    from lorair.runtime.tiling import Tile

app = console.make_app("Restore pictures with a lorair bundle. No PyTorch needed.")


def main() -> None:
    """The console script."""
    console.run(app)


def _backend_names() -> list[str]:
    from lorair.runtime.backends import AUTO, BACKENDS

    return [AUTO, *BACKENDS]


@app.command()
def infer(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Pictures.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File, or a folder. Default: STEM.restored.png beside each input.",
        ),
    ] = None,
    bundle: Annotated[
        Path, typer.Option("--bundle", "-b", envvar="LORAIR_BUNDLE", help="The bundle's folder.")
    ] = Path("lorair-bundle"),
    backend: Annotated[
        str,
        typer.Option(
            help="What runs the network; `lorair-run doctor` lists them.",
            autocompletion=_backend_names,
        ),
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|N|off",
            help="Restore in tiles of N pixels a side; auto: if memory asks for it.",
        ),
    ] = "auto",
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")
    ] = 200_000_000,
    report: Annotated[
        Path | None, typer.Option(help="Write routes and times as JSON to this file.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Restore pictures: route each, repair it, write it beside the original.

    Never overwrites an input. Exit code 1 if some of several pictures failed.
    """
    from lorair.runtime.restorer import Restorer
    from lorair.runtime.tiling import parse_tile

    side = parse_tile(tile)
    outputs = plan_outputs(inputs, output)
    if report is not None:
        console.check_report(report, [*inputs, *outputs, *bundle.glob("*")])
    restorer = Restorer.open(bundle, backend, threads)
    if not as_json:
        console.note(f"backend {restorer.backend.description}{restorer.reason}")
    entries, errors = _restore_all(restorer, inputs, outputs, max_pixels, side, quiet=as_json)
    document = {
        "lorair": console.lorair_version(),
        "bundle": str(bundle),
        "backend": restorer.backend.description,
        "pictures": entries,
    }
    if report is not None:
        console.write_json(report, document)
    if as_json:
        console.print_json(document)
    if errors:
        raise typer.Exit(errors[0].exit_code if len(errors) == len(inputs) else 1)


@app.command()
def doctor(
    bundle: Annotated[
        Path | None, typer.Option("--bundle", "-b", help="Say what would run this bundle.")
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Show what can run here: the machine, every backend, and what each one lacks."""
    from lorair.runtime.doctor import examine

    report = examine(bundle)
    if as_json:
        console.print_json(report)
        return
    out = console.stdout()
    machine, kept = report["machine"], report["cache"]
    out.print(f"lorair    {report['lorair']}, Python {machine['python']}, {machine['system']}")
    out.print(f"machine   {machine['cpu']}; {machine['threads']} threads by default")
    for gpu in report["gpu"]["gpus"]:
        sm, memory = gpu["sm"], gpu["memory"] / 2**30
        out.print(f"GPU       {gpu['name']}, {sm // 10}.{sm % 10}, {memory:.0f} GiB")
    without = report["gpu"]["lacks"]
    out.print(f"driver    {without or 'up to CUDA ' + report['gpu']['driver']}")
    place = kept["folder"] or "off"
    out.print(f"cache     {place} ({kept['bytes'] / 1e6:.0f} MB)", soft_wrap=True)
    table = console.table("backend", "installed", "lacks", "what to do", title="\nBackends")
    for row in report["backends"]:
        table.add_row(row["name"], row["version"] or "no", row["lacks"] or "", row["fix"] or "")
    out.print(table)
    if report["engines"]:
        table = console.table("engine", "for", "lacks here", title="\nEngines")
        for row in report["engines"]:
            table.add_row(row["file"][:16], row["needs"] or "", row["lacks"] or "")
        out.print(table)
    out.print(f"{report['auto']}", soft_wrap=True)


def _restore_all(
    restorer: "Restorer",
    inputs: list[Path],
    outputs: list[Path],
    max_pixels: int,
    tile: "Tile",
    *,
    quiet: bool,
) -> tuple[list[dict[str, Any]], list[LorairError]]:
    """An entry for each picture, and the errors; the only picture's error is raised."""
    entries: list[dict[str, Any]] = []
    errors: list[LorairError] = []
    for source, target in zip(inputs, outputs, strict=True):
        try:
            with console.bar(f"restoring {source.name}") as progress:
                entry, restored = _restore_file(
                    restorer, source, target, max_pixels, tile, progress
                )
            if not quiet:
                _print_result(entry, restored)
        except Exception as error:
            if len(inputs) == 1:
                raise
            # One bad picture of several, whatever is bad about it, ends nothing.
            failure = as_lorair_error(error, f"cannot restore {source}")
            console.stderr().print(f"error: {failure.line()}", soft_wrap=True)
            entry = {"input": str(source), "error": failure.line()}
            errors.append(failure)
        entries.append(entry)
    return entries, errors


def plan_outputs(inputs: list[Path], output: Path | None) -> list[Path]:
    """Where each restored picture goes, checked before any work is done.

    Raises:
        PictureError: an input is a folder.
        OutputError: unwritable, over an input, or two pictures to one file.
    """
    from lorair.runtime.atomic import check_writable_file
    from lorair.runtime.images import check_format

    taken: dict[Path, Path] = {source.resolve(): source for source in inputs}
    targets = [_target(source, output, several=len(inputs) > 1) for source in inputs]
    for source, target in zip(inputs, targets, strict=True):
        check_format(target)
        check_writable_file(target)
        if target.resolve() in taken:
            raise OutputError(
                f"cannot restore {source}",
                wanted="an output that is no input and no other picture's output",
                found=f"{target}",
                hint="choose another with -o, or leave earlier results out of the inputs",
            )
        taken[target.resolve()] = source
    return targets


def _target(source: Path, output: Path | None, *, several: bool) -> Path:
    if source.is_dir():
        raise PictureError(
            f"cannot restore {source}",
            wanted="a picture",
            found="a folder",
            hint="name the pictures in it",
        )
    name = f"{source.stem}.restored.png"
    if output is None:
        return source.with_name(name)
    # A name without an ending can only be meant as a folder.
    if not several and not output.is_dir() and output.suffix:
        return output
    if output.is_file():
        raise OptionError(
            "--output",
            wanted="a folder",
            found=f"the file {output}",
            hint="several pictures need a folder",
        )
    return output / name


def _restore_file(
    restorer: "Restorer",
    source: Path,
    target: Path,
    max_pixels: int,
    tile: "Tile",
    progress: "Progress",
) -> "tuple[dict[str, Any], Restored]":
    import time

    from lorair.runtime import images

    start = time.perf_counter()
    picture = images.read(source, max_pixels)
    decoded = time.perf_counter()
    restored = restorer.restore(picture.pixels, tile=tile, progress=progress)
    encoding = time.perf_counter()
    lost = images.write(target, picture.with_pixels(restored.image))
    end = time.perf_counter()
    seconds = {"decode": decoded - start, **restored.seconds, "encode": end - encoding}
    height, width = restored.image.shape[:2]
    entry = {
        "input": str(source),
        "output": str(target),
        "width": width,
        "height": height,
        "tile": restored.tile,
        "route": restored.route.to_dict(),
        "seconds": seconds,
        "notes": [*picture.notes, *lost],
    }
    return entry, restored


def _print_result(entry: dict[str, Any], restored: "Restored") -> None:
    seconds = entry["seconds"]
    stages = ", ".join(f"{k} {t * 1000:.0f}" for k, t in seconds.items() if t > 0.0005)
    out = console.stdout()
    out.print(f"{entry['input']} -> {entry['output']}", soft_wrap=True)
    out.print(f"  size   {entry['width']}x{entry['height']}")
    out.print(f"  route  {restored.route.summary()}", soft_wrap=True)
    out.print(f"  time   {sum(seconds.values()) * 1000:.0f} ms ({stages})", soft_wrap=True)
    for note in entry["notes"]:
        console.note(f"{entry['input']}: {note}")
