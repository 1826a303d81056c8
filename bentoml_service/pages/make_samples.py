"""Make the synthetic films that the page offers to try: ``python -m bentoml_service.pages.make_samples``.

They come from the phantom generator, so no patient is in them. Never imported by the running service.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from cxr_core.dataset.phantom import render_film, sample_anatomy
from cxr_core.store import write_atomically

__all__ = ["SAMPLES", "main", "sample_films"]

SAMPLES = Path(__file__).parent / "samples"

_SIDE = 448  # pixels, longest side: twice what the network sees, and below 100 KB as PNG
_SEED = 20
_DARK_MEAN = 32.0  # grey levels; the exposure rule draws its line at 50 (report 2.5)
_STRIP_ASPECT = 0.45  # width over height; the aspect rule draws its line at .5 (report 2.5)
_STRIP_MEAN = 112.0  # grey levels: its shape alone is out of range

Pixels = npt.NDArray[np.uint8]


def sample_films() -> dict[str, Pixels]:
    """The films by name: one of each class, an under-exposed one and a strip; uint8 (h, w), longest side 448."""
    return {
        "normal": _film(0, "Normal", "north"),
        "pneumonia": _film(1, "Pneumonia", "south"),
        "tuberculosis": _film(2, "Tuberculosis", "north"),
        "dark": _film(3, "Normal", "south", _DARK_MEAN),
        "strip": _strip(_film(4, "Normal", "north", _STRIP_MEAN)),
    }


def _film(number: int, label: str, site: str, mean_grey: float | None = None) -> Pixels:
    rng = np.random.default_rng([_SEED, number])
    return _fitted(render_film(rng, sample_anatomy(rng), label, site, mean_grey=mean_grey).pixels)


def _fitted(pixels: Pixels) -> Pixels:
    height, width = pixels.shape
    scale = _SIDE / max(height, width)
    shape = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), np.uint8)


def _strip(film: Pixels) -> Pixels:
    """The patient's right half with the mediastinum, as a badly cut scan would show it."""
    height, width = film.shape
    strip = round(height * _STRIP_ASPECT)
    left = width // 2 - round(strip * 0.8)
    return film[:, left : left + strip]


def main() -> int:
    """Write the samples beside this module."""
    for name, pixels in sample_films().items():
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
        write_atomically(SAMPLES / f"{name}.png", buffer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
