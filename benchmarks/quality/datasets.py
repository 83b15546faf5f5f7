"""Folders of degraded and clean pictures, and the test sets of the paper's Setting I."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lorair.benchmarks.schema.quality import Published
from lorair.exporter.commands.options import pictures_in
from lorair.runtime.errors import OptionError

PAIRED: Final = (("input", "target"), ("input", "gt"), ("synthetic", "gt"), ("data", "gt"),
                 ("in", "gt"), ("lq", "gt"))  # fmt: skip
"""Names of the two folders, as the data sets and their copies have them."""

_SHOWN: Final = 20


@dataclass(frozen=True)
class PicturePair:
    """A degraded picture and the clean one.

    group: name of the data folder, empty where there is only one.
    """

    source: Path
    target: Path
    group: str = ""

    @property
    def name(self) -> str:
        """Return the picture's name in results."""
        return f"{self.group}/{self.source.stem}" if self.group else self.source.stem


@dataclass(frozen=True)
class Dataset:
    """A test set of the paper, with its naming rule.

    clean_name: turns a degraded picture's name into the clean one's, both without ending.
    published: the authors' numbers, with their weights.
    """

    clean_name: Callable[[str], str]
    published: Published


_SOURCE = "arXiv 2410.15385, Setting I; of the authors, for their weights"
DATASETS: Final = {
    "snow": Dataset(
        lambda name: name,
        Published(dataset="Snow100K-L", psnr=32.28, ssim=0.930, pictures=16801, source=_SOURCE),
    ),
    "rainfog": Dataset(
        lambda name: re.sub(r"_s\d+_a\d+$", "", name),
        Published(
            dataset="Outdoor-Rain, test1", psnr=32.62, ssim=0.945, pictures=750, source=_SOURCE
        ),
    ),
    "raindrop": Dataset(
        lambda name: re.sub(r"_rain$", "_clean", name),
        Published(dataset="RainDrop, test_a", psnr=33.39, ssim=0.949, pictures=58, source=_SOURCE),
    ),
}


def dataset(key: str | None) -> Dataset | None:
    """Return the test set of a `--dataset` name. Raises OptionError if there is no such set."""
    if key is not None and key not in DATASETS:
        raise OptionError("--dataset", wanted=" or ".join(DATASETS), found=key)
    return DATASETS[key] if key is not None else None


def find_folders(data: Path) -> tuple[Path, Path]:
    """Return the folders of degraded and of clean pictures in a data set's folder.

    Raises OptionError: the folder has none of the pairs in `PAIRED`.
    """
    for source, target in PAIRED:
        if (data / source).is_dir() and (data / target).is_dir():
            return data / source, data / target
    raise OptionError(
        "--data",
        wanted=f"a folder with {' or '.join(f'{a}/ and {b}/' for a, b in PAIRED)}",
        found=f"neither in {data}" if data.is_dir() else f"no folder {data}",
        hint="name both folders with --input and --target",
    )


def find_pairs(
    inputs: Path, targets: Path, rules: Dataset | None = None, group: str = ""
) -> list[PicturePair]:
    """Return every picture of a folder with its clean one, whatever the endings.

    A target of the same name is preferred to the one that the naming rule gives.

    Raises OptionError: there are no pictures, or some have no target.
    """
    sources = pictures_in(inputs, "--input", hint=None)
    clean = {path.stem: path for path in pictures_in(targets, "--target", hint=None)}
    pairs, alone = [], []
    for path in sources:
        target = clean.get(path.stem)
        if target is None and rules is not None:
            target = clean.get(rules.clean_name(path.stem))
        if target is None:
            alone.append(path.name)
        else:
            pairs.append(PicturePair(path, target, group))
    if alone:
        raise _unmatched(inputs, targets, alone, rules)
    return pairs


def _unmatched(
    inputs: Path, targets: Path, alone: Sequence[str], rules: Dataset | None
) -> OptionError:
    names = ", ".join(alone[:_SHOWN])
    more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
    hint = "a picture and its target have the same name; the paper's data sets need --dataset"
    if rules is not None:
        hint = f"the names are not those of {rules.published.dataset}"
    return OptionError(
        f"{len(alone)} pictures of {inputs} have no target",
        wanted=f"one for each in {targets}",
        found=f"none for {names}{more}",
        hint=hint,
    )
