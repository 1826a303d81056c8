"""Corruptions of canonical frames, as other scanners and readers might give them (report 5.1; TRAPS 12).

They act in the frame, before normalisation, so that their severity does not depend on the size of the file. They act on
the film alone: padding is put around a film after it is acquired, so it stays black, blur and reduction do not mix it
in, and a film turns and moves within its own box. Random draws are seeded by image key and step, whatever the batch,
preset or model: every model sees the same noise, and stronger noise is the weaker one made larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames
from cxr_core.errors import CxrError
from cxr_core.robustness.corruption_blur import BLUR
from cxr_core.robustness.corruption_cover import COVER
from cxr_core.robustness.corruption_entry import SEVERITIES, Corruption
from cxr_core.robustness.corruption_geometry import GEOMETRY
from cxr_core.robustness.corruption_grey import GREY
from cxr_core.robustness.corruption_noise import NOISE
from cxr_core.settings_stress import RobustnessSettings

__all__ = [
    "CLEAN",
    "CORRUPTIONS",
    "SEVERITIES",
    "CorruptedFrames",
    "Corruption",
    "Preset",
    "Step",
    "condition",
    "corrupt",
    "film_box",
    "presets",
]

Pixels = npt.NDArray[np.uint8]

CORRUPTIONS: dict[str, Corruption] = {**GREY, **BLUR, **NOISE, **GEOMETRY, **COVER}


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


def condition(name: str, severity: int) -> Preset:
    """One corruption at one of its five severities, as a preset called ``name-severity``.

    Raises:
        CxrError: no such corruption or severity.
    """
    entry = CORRUPTIONS.get(name)
    if entry is None:
        raise CxrError(f"No corruption is called {name!r}: use one of {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise CxrError(f"Severity {severity!r} of {name} must be one of {', '.join(map(str, SEVERITIES))}.")
    return Preset(f"{name}-{severity}", (Step(name, float(entry.severities[SEVERITIES.index(severity)])),))


def film_box(frame: Pixels) -> tuple[slice, slice]:
    """Rows and columns of a frame from the first to the last that hold anything but black; all of a black frame.

    A margin of the film that is wholly black cannot be told from padding: it is left out, and stays black.
    """
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
