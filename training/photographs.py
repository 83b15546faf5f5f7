"""Photographs to train on: `python -m training.photographs [--packages FOLDER]`.

Takes them from Debian's packages by name: `apt-get download` fetches a package, `dpkg -x`
unpacks it. Where apt cannot, `--packages` names a folder that holds the .deb files. Nothing
is installed, and no photograph is part of this project.
"""

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorair.runtime.errors import PictureError

FOLDER: Final = Path(".build/photographs")
"""Where the unpacked packages lie, each in a folder of its name."""

_LOMIRI = "usr/share/backgrounds"
_MATE = "usr/share/backgrounds/mate/nature"
_PLASMA = "usr/share/wallpapers/{}/contents/images/2560x1600.jpg"


@dataclass(frozen=True)
class Photograph:
    """One photograph of a package, with what its copyright file says of it."""

    package: str
    path: str
    author: str
    licence: str

    @property
    def file(self) -> Path:
        """Where it lies once its package is unpacked."""
        return FOLDER / self.package / self.path


def _lomiri(file: str, author: str, licence: str, package: str = "16.04") -> Photograph:
    path = f"{_LOMIRI}/{file}.jpg"
    return Photograph(f"lomiri-wallpapers-{package}", path, author, licence)


def _mate(file: str, author: str) -> Photograph:
    return Photograph("mate-backgrounds", f"{_MATE}/{file}.jpg", author, "GPL-2+")


def _plasma(file: str, author: str) -> Photograph:
    return Photograph("plasma-workspace-wallpapers", _PLASMA.format(file), author, "LGPL-3")


PHOTOGRAPHS: Final[dict[str, Photograph]] = {
    "dragonfly": _lomiri("Dragonfly_by_Bolly", "Bolly", "CC-BY-SA-4.0"),
    "fig": _lomiri("Picture_0B_by_freespace", 'Trevor "Freespace"', "CC-BY-4.0"),
    "wine": _lomiri("Wine_by_Jakkub_Mede", "Jakub Mede", "CC-BY-4.0"),
    "pattern": _lomiri("analogpattern_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
    "free": _lomiri("free_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
    "friends": _lomiri("friends_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    "greentock": _lomiri("greentock_by_Peter_Nerlich", "Peter Nerlich", "CC-BY-SA-4.0"),
    "life": _lomiri("life_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    "picos": _lomiri("picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    "seeding": _lomiri("seeding_by_Clements_Engelhardt", "Clemens Engelhardt", "CC0-1.0"),
    "sunset": _lomiri("sunset_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    "kleiber": _lomiri("Kleiber_by_Lukas_Baubkus", "Lukas Baubkus", "CC-BY-SA-3.0", "20.04"),
    "milky_way": _lomiri("Infinite-Sea_by_Aury88", "Aury88", "CC-BY-SA-3.0", "20.04"),
    "aqua": _mate("Aqua", "Charles Barbin"),
    "blinds": _mate("Blinds", "Lennart Poettering, Andrea Cimitan"),
    "dune": _mate("Dune", "Marco Cogoni, Hylke Bons"),
    "flower": _mate("FreshFlower", "Jens Ansorg"),
    "garden": _mate("Garden", "Charles Barbin"),
    "meadow": _mate("GreenMeadow", "Timothy Schellhase, Lapo Calamandrei"),
    "storm": _mate("Storm", "Sergey Nazarov"),
    "wings": _mate("TwoWings", "Charles Barbin, Hylke Bons"),
    "wood": _mate("Wood", "Jean-François Fortin Tam"),
    "yellow_flower": _mate("YellowFlower", "Charles Barbin"),
    "water": _plasma("BytheWater", "Maciej Wiklo"),
    "ripple": _plasma("ColdRipple", "Risto Saukonpää"),
    "cups": _plasma("ColorfulCups", "Dmitri Popov"),
    "darkest_hour": _plasma("DarkestHour", "Risto Saukonpää"),
    "leaf": _plasma("FallenLeaf", "Martin Klapetek"),
    "kite": _plasma("Kite", "Risto Saukonpää"),
    "plants": _plasma("OneStandsOut", "Risto Saukonpää"),
    "summer": _plasma("summer_1am", "Risto Saukonpää"),
}
"""Trained on, by the short names that the model card lists."""

HELD_OUT: Final[dict[str, Photograph]] = {
    "bridge": _lomiri("Bridge_by_Sander_Klootwijk", "Sander Klootwijk", "CC-BY-SA-4.0"),
    "brushes": _lomiri("Picture_1A_by_freespace", 'Trevor "Freespace"', "CC-BY-4.0"),
    "hills": _lomiri("aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC-BY-4.0"),
    "ladybird": _mate("LadyBird", "Charles Barbin"),
    "boats": _plasma("EveningGlow", "Ian Hex"),
    "facade": _plasma("Grey", "Sigi Sagi"),
    "forest": _plasma("Path", "Risto Saukonpää"),
}
"""Never trained on: sky, foliage, dusk, grey, hills, painted print; 1.5 to 10.7 megapixels."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.photographs", description=__doc__)
    parser.add_argument("--packages", type=Path, help="folder of .deb files, instead of apt")
    options = parser.parse_args()
    for package in sorted({p.package for p in (PHOTOGRAPHS | HELD_OUT).values()}):
        unpack(package, options.packages)


def unpack(package: str, packages: Path | None) -> None:
    """Unpack one package into its folder, unless it is there already."""
    target = FOLDER / package
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    with tempfile.TemporaryDirectory() as downloads:
        if packages is None:
            subprocess.run(["apt-get", "download", "-q", package], cwd=downloads, check=True)
        (deb,) = (packages or Path(downloads)).glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", str(deb), str(target)], check=True)


@cache
def read(name: str, megapixels: float) -> npt.NDArray[np.uint8]:
    """A photograph by its short name, (H, W, 3) uint8 RGB.

    Args:
        name: of `PHOTOGRAPHS` or `HELD_OUT`.
        megapixels: the most; a larger photograph is made smaller.

    Raises:
        PictureError: its package is not unpacked.
    """
    path = (PHOTOGRAPHS | HELD_OUT)[name].file
    if not path.exists():
        raise PictureError(
            f"no photograph {name}", found=f"no {path}", hint="run python -m training.photographs"
        )
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    share = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    if share < 1:
        size = round(image.width * share), round(image.height * share)
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


if __name__ == "__main__":
    main()
