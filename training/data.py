"""Training pictures: drawn once, kept as files, cut into batches.

Nothing here has a state: what a step sees follows from the seed and the step's number, so
an interrupted training goes on as if it had not been.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lorair.runtime.pixels import MEAN, STD, make_views
from lorair.runtime.system.atomic import atomic_file
from training.degradations import WEATHER, degrade
from training.scenes import TRAINING_PHOTOS, camera, scene

Pixels = npt.NDArray[np.uint8]

CLEAN = 0
"""Number of the clean version; weather w is version w + 1."""

KINDS = 1 + len(WEATHER)

CLASS_OF = np.roll(np.arange(KINDS), 1)
"""A version's class: the router's `clean` is the last of them."""


_VISIBLE = 0.03
"""Mean difference, of 1, from which on a patch's weather counts as seen."""

_CAMERA = 0.15
"""Share of degraded pictures with noise and JPEG on top."""


def draw_scenes(
    folder: Path,
    seed: int,
    count: int,
    side: int,
    workers: int,
    photos: tuple[str, ...] = TRAINING_PHOTOS,
) -> Iterator[Path]:
    """Draw the scenes that are not yet in the folder; yields each file as it is there.

    A file is (KINDS, side, side, 3) uint8: clean, then one of each class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [folder / f"{number:05d}.npy" for number in range(count)]
    job = partial(_draw_scene, seed=seed, side=side, photos=photos)
    if workers <= 1:
        yield from map(job, names)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(job, names)


def _draw_scene(path: Path, seed: int, side: int, photos: tuple[str, ...]) -> Path:
    if not path.exists():
        with atomic_file(path) as partial_file, partial_file.open("wb") as out:
            np.save(out, versions(np.random.default_rng([seed, int(path.stem)]), side, photos))
    return path


def versions(
    rng: np.random.Generator, side: int, photos: tuple[str, ...] = TRAINING_PHOTOS
) -> Pixels:
    """A scene and its degraded versions, (KINDS, side, side, 3)."""
    clean = scene(rng, side, photos)
    pictures = [clean]
    for kind in WEATHER:
        # One in eight has hardly any weather: in between, and next to, clean ones.
        severity = rng.uniform(0.05, 0.25) if rng.random() < 1 / 8 else rng.uniform(0.25, 1)
        scale = 2 ** float(rng.uniform(-0.3, 0.6))
        degraded = degrade(clean, kind, rng, float(severity), scale)
        pictures.append(camera(rng, degraded) if rng.random() < _CAMERA else degraded)
    return np.rint(np.stack(pictures) * 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Scenes:
    """All training pictures: `pixels` (N, KINDS, S, S, 3) uint8."""

    pixels: Pixels

    @classmethod
    def read(cls, paths: list[Path]) -> "Scenes":
        """From the files of `draw_scenes`."""
        return cls(np.stack([np.load(path) for path in paths]))

    def views(
        self,
        rng: np.random.Generator,
        batch: int,
        side: int,
        clean: float,
        grey: float = 0,
        window: float = 0.5,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """A router's batch: pieces of many shapes and sizes, as photographs are.

        Args:
            rng: of everything drawn.
            batch: pictures.
            side: of a view.
            clean: share of pictures without weather.
            grey: share without colour.
            window: least height and width of a piece, as a share of the scene's.

        Returns:
            views (batch, 5, 3, side, side) and classes (batch,).
        """
        kinds = rng.integers(1, KINDS, batch)
        kinds[rng.random(batch) < clean] = CLEAN
        count = len(self.pixels)
        views = [
            self.view(rng, int(rng.integers(count)), int(k), side, grey, window) for k in kinds
        ]
        return np.concatenate(views), CLASS_OF[kinds].astype(np.int64)

    def labelled(
        self, rng: np.random.Generator, batch: int, side: int, patch: int, clean: float, grey: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Single views of pieces, from a quarter of a scene's side to all of it.

        Returns:
            views (batch, 3, side, side); visible (batch, patches) in [0, 1], how much of the
            weather each patch shows; classes (batch,).
        """
        kinds = rng.integers(1, KINDS, batch)
        kinds[rng.random(batch) < clean] = CLEAN
        views, visible = [], []
        for kind in kinds:
            pair = self.pixels[rng.integers(len(self.pixels)), [kind, CLEAN]]
            height, width = (int(s * 0.25 ** rng.random()) for s in pair.shape[1:3])
            pair = _varied(rng, _window(rng, pair, height, width), grey)
            degraded, original = (_resized(picture, side) for picture in pair)
            harm = np.abs(degraded - original).mean(2)
            cells = harm.reshape(side // patch, patch, side // patch, patch).mean((1, 3))
            views.append(((degraded - MEAN) / STD).transpose(2, 0, 1))
            visible.append((cells / _VISIBLE).clip(0, 1).ravel())
        classes = CLASS_OF[kinds].astype(np.int64)
        return np.stack(views).astype(np.float32), np.stack(visible).astype(np.float32), classes

    def view(
        self,
        rng: np.random.Generator,
        number: int,
        kind: int,
        side: int,
        grey: float = 0,
        window: float = 0.5,
    ) -> npt.NDArray[np.float32]:
        """The five views of a random piece of one picture, (1, 5, 3, side, side)."""
        whole = self.pixels[number, kind]
        least = int(whole.shape[0] * window)
        height, width = rng.integers(least, whole.shape[0] + 1, 2)
        piece = _window(rng, whole[None], int(height), int(width))[0]
        return make_views(_varied(rng, piece[None], grey)[0], side)

    def patches(
        self, rng: np.random.Generator, chosen: npt.NDArray[np.intp], patch: int, grey: float = 0
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """A restoration batch.

        Args:
            rng: of the places and mirrorings.
            chosen: (B, 2): scene and kind of each.
            patch: side of a patch.
            grey: share of patches without colour.

        Returns:
            degraded and clean, (B, 3, patch, patch) in [0, 1].
        """
        cut = []
        for number, kind in chosen:
            pair = self.pixels[number, [kind, CLEAN]]
            cut.append(_varied(rng, _window(rng, pair, patch, patch), grey))
        pairs = np.stack(cut).transpose(1, 0, 4, 2, 3).astype(np.float32) / np.float32(255)
        return np.ascontiguousarray(pairs[0]), np.ascontiguousarray(pairs[1])


def _resized(picture: Pixels, side: int) -> npt.NDArray[np.float32]:
    resized = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / np.float32(255)


def _window(rng: np.random.Generator, pictures: Pixels, height: int, width: int) -> Pixels:
    """The same random window of each of (n, H, W, 3)."""
    y = rng.integers(pictures.shape[1] - height + 1)
    x = rng.integers(pictures.shape[2] - width + 1)
    return pictures[:, y : y + height, x : x + width]


def _varied(rng: np.random.Generator, pictures: Pixels, grey: float) -> Pixels:
    """Mirrored left to right, the colours exchanged or gone, or none of it; never upside down."""
    if rng.random() < 0.5:
        pictures = pictures[:, :, ::-1]
    if rng.random() < 0.5:
        pictures = pictures[..., rng.permutation(3)]
    if grey > 0 and rng.random() < grey:
        mean = pictures.mean(-1, keepdims=True)
        pictures = np.broadcast_to(np.rint(mean).astype(np.uint8), pictures.shape)
    return np.ascontiguousarray(pictures)
