"""lorair-run: restore pictures with a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorair.runtime import console
from lorair.runtime.errors import LorairError, OptionError, OutputError

if TYPE_CHECKING:
    from lorair.runtime.restorer import Restored, Restorer

app = console.make_app("Restore pictures with a lorair bundle. No PyTorch needed.")


def main() -> None:
    """The console script."""
    console.run(app)


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
    backend: Annotated[str, typer.Option(help="What runs the network.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
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
    from lorair.runtime.atomic import check_writable
    from lorair.runtime.restorer import Restorer

    outputs = plan_outputs(inputs, output)
    if report is not None:
        check_writable(report)
    restorer = Restorer.open(bundle, backend, threads)
    entries: list[dict[str, Any]] = []
    errors: list[LorairError] = []
    for source, target in zip(inputs, outputs, strict=True):
        try:
            with console.status(f"restoring {source.name}"):
                entry, restored = _restore_file(restorer, source, target, max_pixels)
            if not as_json:
                _print_result(entry, restored)
        except LorairError as error:
            if len(inputs) == 1:
                raise
            console.stderr().print(f"error: {error.line()}", soft_wrap=True, markup=False)
            entry = {"input": str(source), "error": error.line()}
            errors.append(error)
        entries.append(entry)
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


def plan_outputs(inputs: list[Path], output: Path | None) -> list[Path]:
    """Where each restored picture goes, checked before any work is done.

    Raises:
        OutputError: unwritable, over an input, or two pictures to one file.
    """
    from lorair.runtime.atomic import check_writable
    from lorair.runtime.images import check_format

    into_folder = output is not None and (len(inputs) > 1 or output.is_dir())
    if output is not None and into_folder and output.is_file():
        raise OptionError(
            "--output", wanted="a folder, as there are several pictures", found=f"the file {output}"
        )
    targets = []
    for source in inputs:
        name = f"{source.stem}.restored.png"
        if output is None:
            target = source.with_name(name)
        else:
            target = output / name if into_folder else output
        targets.append(target)
    taken: dict[Path, Path] = {source.resolve(): source for source in inputs}
    for source, target in zip(inputs, targets, strict=True):
        check_format(target)
        resolved = target.resolve()
        if resolved in taken:
            raise OutputError(
                f"cannot restore {source}",
                wanted="an output that is no input and no other picture's output",
                found=f"{target}",
                hint="choose another with -o",
            )
        taken[resolved] = source
        check_writable(target)
    return targets


def _restore_file(
    restorer: "Restorer", source: Path, target: Path, max_pixels: int
) -> "tuple[dict[str, Any], Restored]":
    import time

    from lorair.runtime import images

    start = time.perf_counter()
    picture = images.read(source, max_pixels)
    decoded = time.perf_counter()
    restored = restorer.restore(picture.pixels)
    encoding = time.perf_counter()
    images.write(target, picture.with_pixels(restored.image))
    end = time.perf_counter()
    seconds = {"decode": decoded - start, **restored.seconds, "encode": end - encoding}
    height, width = restored.image.shape[:2]
    entry = {
        "input": str(source),
        "output": str(target),
        "width": width,
        "height": height,
        "route": restored.route.to_dict(),
        "seconds": seconds,
        "notes": list(picture.notes),
    }
    return entry, restored


def _print_result(entry: dict[str, Any], restored: "Restored") -> None:
    seconds = entry["seconds"]
    stages = ", ".join(f"{k} {t * 1000:.0f}" for k, t in seconds.items() if t > 0.0005)
    out = console.stdout()
    out.print(f"{entry['input']} -> {entry['output']}", markup=False, soft_wrap=True)
    out.print(f"  size   {entry['width']}x{entry['height']}")
    out.print(f"  route  {restored.route.summary()}", markup=False, soft_wrap=True)
    out.print(f"  time   {sum(seconds.values()) * 1000:.0f} ms ({stages})", soft_wrap=True)
    for note in entry["notes"]:
        console.stderr().print(f"note: {entry['input']}: {note}", markup=False, soft_wrap=True)
