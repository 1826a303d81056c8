"""Films for the benchmarks: phantoms at the size of the report's images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.dataset.phantom import PhantomSpec, iter_films
from cxr_core.imaging.preprocess import Preprocessing

__all__ = ["REPORT_SIZE", "phantom_frames", "write_films", "write_small_films"]

REPORT_SIZE = (1342, 1215)  # width, height: mean of report 2.3
# Public chest films of this size are colour JPEG files that hold grey, of .14 to .24 bytes a pixel (the middle half of
# 99 Kermany films above .8 megapixels): with this quality and grain the phantoms have as many.
_QUALITY = 90
_GRAIN = 2.2  # grey levels


def write_films(folder: Path, count: int) -> list[Path]:
    """Write ``count`` phantom films of the report's mean size: grey in colour JPEG, as public films are."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = PhantomSpec(
        patients_per_class=-(-count // 3), films_per_patient=(1, 1), exact_duplicates=0, near_duplicates=0
    )
    paths = []
    for number, (_, film) in zip(range(count), iter_films(spec), strict=False):
        path = folder / f"film{number:05}.jpg"
        large = cv2.resize(film.pixels, REPORT_SIZE, interpolation=cv2.INTER_CUBIC)
        grain = np.random.default_rng(number).normal(0, _GRAIN, large.shape)
        grey = np.clip(large + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(path), cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        paths.append(path)
    return paths


def phantom_frames(count: int, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Canonical frames of ``count`` phantom films, (count, side, side) uint8."""
    spec = PhantomSpec(
        patients_per_class=-(-count // 3), films_per_patient=(1, 1), exact_duplicates=0, near_duplicates=0
    )
    films = (film for _, (_, film) in zip(range(count), iter_films(spec), strict=False))
    return np.stack([preprocessing.frame(film.pixels) for film in films])


def write_small_films(root: Path, labels: tuple[str, ...], count: int) -> None:
    """Write ``count`` different small films into class folders, quickly: for counting memory, not for looking at."""
    rng = np.random.default_rng(0)
    for label in labels:
        (root / label).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        coarse = rng.integers(30, 220, (12, 12)).astype(np.uint8)
        film = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / labels[number % len(labels)] / f"film{number:06}.jpg"), film)
