"""Encoding films as files, sound ones and ones with a planted defect."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_core.dataset.phantom.film import Film
from cxr_core.dataset.phantom.sites import Site

__all__ = ["Content", "encode", "mask_png", "resized"]

Pixels = NDArray[np.uint8]

UNDER_EXPOSED_MEAN = (24.0, 40.0)  # grey levels; the quality rule of the report draws its line at 50
OVER_EXPOSED_MEAN = (210.0, 228.0)  # and at 200
_PNG_LEVEL = 3  # grainy films compress little; higher levels cost time and save nothing
_SMALL_SIDE = (72, 124)  # longest side of a film that is too small, pixels; the rule asks for 128
_SLIM = (0.38, 0.46)  # short over long side of an extreme crop; the rule allows .5
_CASTS = ((1.0, 0.86, 0.66), (0.72, 0.88, 1.0), (0.82, 1.0, 0.80), (1.0, 0.80, 0.92))  # red, green, blue gains
_TEXT = b"Patient moved to another ward. Film to follow by courier.\n"


@dataclass(frozen=True)
class Content:
    """Bytes of a file, with the masks of the film it shows; `None` where it shows no single film."""

    data: bytes
    lesion_mask: Pixels | None = None
    lung_mask: Pixels | None = None


def encode(pixels: Pixels, container: str, quality: int = 90) -> bytes:
    """Encode grey (h, w) or RGB (h, w, 3) uint8 pixels as `jpeg` or `png`."""
    buffer = io.BytesIO()
    if container == "png":
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    else:
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def mask_png(mask: Pixels) -> bytes:
    """Encode a 0/255 mask (h, w) as an 8-bit PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def resized(film: Film, height: int, width: int) -> Film:
    """The film and its masks at another size."""
    size = (width, height)
    pixels = cv2.resize(film.pixels, size, interpolation=cv2.INTER_AREA)
    lesion = cv2.resize(film.lesion_mask, size, interpolation=cv2.INTER_NEAREST)
    lung = cv2.resize(film.lung_mask, size, interpolation=cv2.INTER_NEAREST)
    return Film(cast(Pixels, pixels), cast(Pixels, lesion), cast(Pixels, lung))


def _shown(film: Film, data: bytes) -> Content:
    return Content(data, film.lesion_mask, film.lung_mask)


def sound(rng: np.random.Generator, film: Film, site: Site, container: str) -> Content:
    """A film as its site archives it."""
    return _shown(film, encode(film.pixels, container, int(rng.integers(*site.jpeg_quality))))


def near_duplicate(rng: np.random.Generator, film: Film, variant: int, container: str) -> Content:
    """A copy that went through other hands: compressed harder, resized, or brightened a little, in turn."""
    if variant % 3 == 0:
        return _shown(film, encode(film.pixels, container, int(rng.integers(55, 72))))
    if variant % 3 == 1:
        height, width = film.pixels.shape
        factor = rng.uniform(0.70, 0.90)
        small = resized(film, round(factor * height), round(factor * width))
        return _shown(small, encode(small.pixels, container, 92))
    step = int(rng.integers(4, 9)) * (1 if rng.random() < 0.5 else -1)
    return _shown(film, encode(np.clip(film.pixels.astype(np.int16) + step, 0, 255).astype(np.uint8), container))


def corrupt(rng: np.random.Generator, variant: int) -> Content:
    """Random bytes, no bytes, zero bytes, in turn."""
    size = int(rng.integers(2_000, 20_000))
    return Content((rng.bytes(size), b"", bytes(size))[variant % 3])


def truncated(rng: np.random.Generator, film: Film, container: str) -> Content:
    """The first 30 to 70 percent of a sound file."""
    data = encode(film.pixels, container)
    return Content(data[: int(rng.uniform(0.3, 0.7) * len(data))])


def too_small(rng: np.random.Generator, film: Film, container: str) -> Content:
    """A thumbnail of a film."""
    height, width = film.pixels.shape
    factor = int(rng.integers(*_SMALL_SIDE)) / max(height, width)
    small = resized(film, round(factor * height), round(factor * width))
    return _shown(small, encode(small.pixels, container))


def wrong_content(film: Film, variant: int) -> Content:
    """Text and a GIF, in turn; the name claims an accepted format."""
    if variant % 2 == 0:
        return Content(_TEXT)
    buffer = io.BytesIO()
    Image.fromarray(film.pixels).save(buffer, "GIF")
    return Content(buffer.getvalue())


def near_uniform(rng: np.random.Generator, film: Film, container: str) -> Content:
    """An exposure without a patient: one grey level and noise of about one level."""
    noise = rng.normal(rng.uniform(90, 160), 0.9, film.pixels.shape)
    return Content(encode(np.rint(noise).astype(np.uint8), container, 95))


def extreme_aspect(rng: np.random.Generator, film: Film, variant: int, container: str) -> Content:
    """A strip of a film: upright and lying, in turn."""
    height, width = film.pixels.shape
    share = rng.uniform(*_SLIM)
    if variant % 2 == 0:
        wide = int(share * height)
        left = int(rng.uniform(0.25, 0.75) * (width - wide))
        window = (slice(None), slice(left, left + wide))
    else:
        high = int(share * width)
        top = int(rng.uniform(0.25, 0.75) * (height - high))
        window = (slice(top, top + high), slice(None))
    strip = Film(*(np.ascontiguousarray(part[window]) for part in (film.pixels, film.lesion_mask, film.lung_mask)))
    return _shown(strip, encode(strip.pixels, container))


def multi_frame(film: Film, container: str) -> Content:
    """Two frames in one file: an animated PNG, or a multi-picture JPEG (MPO)."""
    first = Image.fromarray(film.pixels)
    second = Image.fromarray(np.ascontiguousarray(film.pixels[:, ::-1]))
    buffer = io.BytesIO()
    if container == "png":
        first.save(buffer, "PNG", save_all=True, append_images=[second], compress_level=_PNG_LEVEL)
    else:
        first.save(buffer, "MPO", save_all=True, append_images=[second], quality=90)
    return Content(buffer.getvalue())


def tinted(film: Film, variant: int, container: str) -> Content:
    """A film with a colour cast, as from a photograph of a light box."""
    gains = np.array(_CASTS[variant % len(_CASTS)], np.float32)
    return _shown(film, encode(np.rint(film.pixels[:, :, None] * gains).astype(np.uint8), container))
