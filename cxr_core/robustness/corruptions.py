"""Corruptions of canonical frames, as other scanners and readers might give them (report 5.1; TRAPS 12).

They act in the frame, before normalisation, so that their severity does not depend on the size of the file. They act on
the film alone: padding is put around a film after it is acquired, so it stays black, and blur and reduction do not mix
it in. Random draws are seeded by image key and step, whatever the batch, preset or model: every model sees the same
noise, and the severe noise is the clinical one made larger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.settings_sections import RobustnessSettings

__all__ = ["CLEAN", "CORRUPTIONS", "CorruptedFrames", "Corruption", "Preset", "Step", "corrupt", "film_box", "presets"]

Film = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_RANGE = 255.0  # full range of grey, to which shares refer
_MIDDLE = 127.5  # grey that contrast turns about: the middle of the range, so that film and padding do not matter


def _brightness(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Shift all grey by a share of the full range, uniform in ± ``amount``."""
    return film + np.float32(rng.uniform(-amount, amount) * _RANGE)


def _contrast(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Stretch grey about the middle of the range by 1 + uniform in ± ``amount``."""
    return (film - np.float32(_MIDDLE)) * np.float32(1 + rng.uniform(-amount, amount)) + np.float32(_MIDDLE)


def _gaussian_blur(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Gaussian blur with OpenCV's kernel of ``amount`` pixels: binomial (1 2 1) / 4 for 3, (1 4 6 4 1) / 16 for 5."""
    side = int(amount)
    return cv2.GaussianBlur(film, (side, side), 0)


def _gaussian_noise(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Add independent Gaussian noise with a standard deviation of ``amount`` times the full range."""
    return film + rng.standard_normal(film.shape, dtype=np.float32) * np.float32(amount * _RANGE)


def _downscale(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Reduce both sides to ``amount`` of themselves by area averaging and enlarge again linearly."""
    height, width = film.shape
    small = (max(1, round(width * amount)), max(1, round(height * amount)))
    reduced = cv2.resize(film, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Corruption:
    """One entry of the registry.

    Attributes:
        act: film (height, width) float32 on the 0-255 scale, amount, and the image's generator for this step, to the
            corrupted film; it may leave 0-255, as cutting comes last.
        nothing: amount that leaves every film as it is.
        valid: whether an amount makes sense.
        demand: what ``valid`` asks for, as it ends a sentence.
    """

    act: Callable[[Film, float, np.random.Generator], Film]
    nothing: float
    valid: Callable[[float], bool]
    demand: str


CORRUPTIONS: dict[str, Corruption] = {
    "brightness": Corruption(_brightness, 0.0, lambda a: 0 <= a <= 1, "a share from 0 to 1"),
    "contrast": Corruption(_contrast, 0.0, lambda a: 0 <= a < 1, "a share from 0 to below 1"),
    "gaussian_blur": Corruption(_gaussian_blur, 1.0, lambda a: a >= 1 and a % 2 == 1, "an odd number of pixels"),
    "gaussian_noise": Corruption(_gaussian_noise, 0.0, lambda a: 0 <= a <= 1, "a share from 0 to 1"),
    "downscale": Corruption(_downscale, 1.0, lambda a: 0 < a <= 1, "a factor above 0 up to 1"),
}


@dataclass(frozen=True)
class Step:
    """One corruption of a preset: its name in :data:`CORRUPTIONS` and how strong it is.

    Raises:
        CxrError: no such corruption, or an amount that it cannot take.
    """

    corruption: str
    amount: float

    def __post_init__(self) -> None:
        entry = CORRUPTIONS.get(self.corruption)
        if entry is None:
            raise CxrError(f"No corruption is called {self.corruption!r}: use one of {', '.join(CORRUPTIONS)}.")
        if not entry.valid(self.amount):
            raise CxrError(f"Amount {self.amount:g} of {self.corruption} must be {entry.demand}: change the setting.")


@dataclass(frozen=True)
class Preset:
    """Corruptions applied one after the other.

    Attributes:
        name: stable machine name.
        steps: in order; those whose amount changes nothing are passed over.
    """

    name: str
    steps: tuple[Step, ...]

    @property
    def acting(self) -> tuple[Step, ...]:
        """The steps that change anything."""
        return tuple(step for step in self.steps if step.amount != CORRUPTIONS[step.corruption].nothing)

    def describe(self) -> list[dict[str, Any]]:
        """The steps as JSON-ready values."""
        return [{"corruption": step.corruption, "amount": step.amount} for step in self.steps]


CLEAN = Preset("clean", ())


def presets(settings: RobustnessSettings) -> dict[str, Preset]:
    """The conditions of report 5.1: ``clean``, ``clinical`` and ``severe``; steps in the report's order."""

    def preset(name: str) -> Preset:
        values = settings.model_dump()
        named = {
            "brightness": "brightness",
            "contrast": "contrast",
            "gaussian_blur": "blur_kernel",
            "gaussian_noise": "noise_sigma",
            "downscale": "downscale",
        }
        return Preset(name, tuple(Step(step, float(values[f"{name}_{field}"])) for step, field in named.items()))

    return {"clean": CLEAN, "clinical": preset("clinical"), "severe": preset("severe")}


def film_box(frame: Pixels) -> tuple[slice, slice]:
    """Rows and columns of a frame from the first to the last that hold anything but black; all of a black frame."""
    rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
    if not len(rows):
        return slice(0, frame.shape[0]), slice(0, frame.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def corrupt(frames: Pixels, keys: Sequence[str], preset: Preset, seed: int) -> Pixels:
    """Corrupted copies of canonical frames.

    Args:
        frames: (n, side, side) uint8.
        keys: n image keys; the same key, frame, preset and seed give the same bytes in any batch.
        preset: what is done.
        seed: of the random draws.

    Returns:
        (n, side, side) uint8, rounded and cut to 0-255 once, after the last step.
    """
    if len(frames) != len(keys):
        raise CxrError(f"{len(frames)} frames and {len(keys)} keys do not match: pass one key a frame.")
    result = frames.copy()
    steps = preset.acting
    if not steps:
        return result
    for frame, key in zip(result, keys, strict=True):
        box = film_box(frame)
        film = frame[box].astype(np.float32)
        for step in steps:
            film = CORRUPTIONS[step.corruption].act(film, step.amount, _generator(seed, key, step.corruption))
        frame[box] = np.clip(np.rint(film), 0, 255).astype(np.uint8)
    return result


def _generator(seed: int, key: str, corruption: str) -> np.random.Generator:
    digest = sha256(f"{seed}/{corruption}/{key}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


@dataclass(frozen=True)
class CorruptedFrames:
    """Other frames, corrupted as they are taken; see :class:`cxr_core.dataset.frames.Frames`.

    Attributes:
        base: n canonical frames.
        keys: n image keys.
        preset: what is done.
        seed: of the random draws.
    """

    base: Frames
    keys: Sequence[str]
    preset: Preset
    seed: int

    @property
    def side(self) -> int:
        """Side of every frame, pixels."""
        return self.base.side

    def __len__(self) -> int:
        return len(self.base)

    def take(self, rows: npt.NDArray[np.intp]) -> Pixels:
        """Corrupted copies of the given rows."""
        return corrupt(self.base.take(rows), [self.keys[row] for row in rows], self.preset, self.seed)
