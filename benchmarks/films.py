"""Films for the benchmarks: phantoms at the size of the report's images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cxr_core.dataset.phantom import PhantomSpec, iter_films

__all__ = ["REPORT_SIZE", "write_films", "write_small_films"]

REPORT_SIZE = (1342, 1215)  # width, height: mean of report 2.3
_QUALITY = 90  # a usual JPEG quality; the report gives none


def write_films(folder: Path, count: int) -> list[Path]:
    """Write ``count`` phantom films of the report's mean size as JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = PhantomSpec(patients_per_class=-(-count // 3), films_per_patient=(1, 1))
    paths = []
    for number, (_, film) in zip(range(count), iter_films(spec), strict=False):
        path = folder / f"film{number:05}.jpg"
        large = cv2.resize(film.pixels, REPORT_SIZE, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), large, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        paths.append(path)
    return paths


def write_small_films(root: Path, labels: tuple[str, ...], count: int) -> None:
    """Write ``count`` different small films into class folders, quickly: for counting memory, not for looking at."""
    rng = np.random.default_rng(0)
    for label in labels:
        (root / label).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        coarse = rng.integers(30, 220, (12, 12)).astype(np.uint8)
        film = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / labels[number % len(labels)] / f"film{number:06}.jpg"), film)
