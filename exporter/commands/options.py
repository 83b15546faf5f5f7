"""Options that several commands have, and the packages that they need."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lorair.runtime.bundle import bundle_folder
from lorair.runtime.errors import OptionError
from lorair.runtime.images import WRITABLE
from lorair.runtime.system import extras

IrWeightsOption = Annotated[
    Path | None,
    typer.Option(
        help="File of the restoration network's weights, .pth or .safetensors.",
        show_default="the default model's",
    ),
]
RouterWeightsOption = Annotated[
    Path | None,
    typer.Option(
        help="File of the router's weights, .pth or .safetensors.",
        show_default="the default model's",
    ),
]
ClassesOption = Annotated[
    str | None, typer.Option(help="Names of the weights' experts, separated by commas.")
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(help="Folder of pictures to compare on.", show_default="three photographs"),
]
MaxErrorOption = Annotated[
    float,
    typer.Option(min=0, help="Largest error of a restored value that float32 arithmetic may have."),
]
MinPsnrOption = Annotated[
    float, typer.Option(help="Least PSNR in dB that arithmetic of lower precision may have.")
]


def bundle_argument(text: str, metavar: str = "BUNDLE") -> Any:
    """Return the argument of a bundle's folder, or of `default`; text: its help."""
    return typer.Argument(metavar=metavar, parser=bundle_folder, help=text)


def require(*packages: str) -> None:
    """Raise DependencyError if one of these, all in the `export` extra, is not installed."""
    extras.require("export", "export,cpu", *packages)


def names_in(classes: str | None) -> tuple[str, ...] | None:
    """Return the experts' names, for the option --classes; None if they are not given."""
    return tuple(name.strip() for name in classes.split(",")) if classes is not None else None


def pictures_in(
    folder: Path, option: str = "--images", hint: str | None = "leave it out for the shipped ones"
) -> list[Path]:
    """Return the pictures in a folder, by name; for an option, whose hint follows its error.

    Raises OptionError: there are none.
    """
    pictures = []
    if folder.is_dir():
        pictures = sorted(p for p in folder.iterdir() if p.suffix.lower() in WRITABLE)
    if not pictures:
        raise OptionError(
            option,
            wanted=f"a folder with pictures ({', '.join(WRITABLE)})",
            found=f"none in {folder}",
            hint=hint,
        )
    return pictures
