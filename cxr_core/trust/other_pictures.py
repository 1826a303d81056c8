"""Pictures that are no chest film, or one the wrong way round: drawn and seeded, to test what is refused."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError

__all__ = ["ALTERED", "DRAWN", "TITLES", "altered_films", "draw_pictures"]

Grey = npt.NDArray[np.uint8]
Frames = npt.NDArray[np.uint8]
_Draw = Callable[[np.random.Generator], Grey]

_SIDES = (240, 420)  # sides of a drawn picture, pixels, drawn evenly


def _shape(rng: np.random.Generator) -> tuple[int, int]:
    height, width = rng.integers(*_SIDES, 2).tolist()
    return height, width


def _clouds(rng: np.random.Generator, height: int, width: int, roughness: float) -> npt.NDArray[np.float32]:
    """Random texture 0-1 whose amplitude falls with frequency to the power ``roughness``, as in natural scenes.

    Field, Journal of the Optical Society of America A 1987: about 1 for photographs.
    """
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency**roughness
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (height, width))
    return np.asarray((field - field.min()) / np.ptp(field), np.float32)


def _scene(rng: np.random.Generator) -> Grey:
    """A landscape or a still life in colours, turned to grey as the service does: sky, ground, objects, light."""
    height, width = _shape(rng)
    colours = rng.uniform(0, 255, (12, 3))
    down = np.linspace(0, 1, height)[:, None, None]
    picture = np.broadcast_to(colours[0] * (1 - down) + colours[1] * down, (height, width, 3)).copy()
    across = np.arange(width) / width
    for layer in range(int(rng.integers(0, 4))):  # hills, one before the other
        waves = rng.uniform(0.02, 0.12, 3)[:, None] * np.sin(
            2 * np.pi * (rng.uniform(0.5, 4, 3)[:, None] * across + rng.uniform(0, 1, 3)[:, None])
        )
        top = height * (0.35 + 0.15 * layer + waves.sum(axis=0))
        picture[np.arange(height)[:, None] >= top] = colours[2 + layer]
    for shape in range(int(rng.integers(2, 12))):
        colour = tuple(colours[6 + shape % 6].tolist())
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        half = rng.uniform(0.03, 0.25, 2) * (width, height)
        kind, angle = int(rng.integers(0, 3)), float(rng.uniform(0, 180))
        if kind == 0:
            cv2.ellipse(picture, (centre, tuple((2 * half).tolist()), angle), colour, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints((centre, tuple((2 * half).tolist()), angle if kind == 2 else 0.0))
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
    light = 0.35 + 1.3 * _clouds(rng, height, width, float(rng.uniform(0.8, 1.8)))
    shaded = np.clip(picture * light[..., None], 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(shaded, cv2.COLOR_RGB2GRAY), np.uint8)


def _texture(rng: np.random.Generator) -> Grey:
    """A surface close up: cloth, gravel, wood; random texture of any roughness and contrast, sometimes in stripes."""
    height, width = _shape(rng)
    field = _clouds(rng, height, width, float(rng.uniform(0.3, 2.2)))
    if rng.random() < 0.4:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        turn, step = rng.uniform(0, np.pi), rng.uniform(6, 60)
        field = 0.5 * field + 0.25 + 0.25 * np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / step + 6 * field)
    low, high = np.sort(rng.uniform(0, 255, 2))
    return np.asarray(low + (high - low) * np.clip(field, 0, 1), np.uint8)


def _noise(rng: np.random.Generator) -> Grey:
    """Independent grey values: even, or normal about some grey; in blocks of one to eight pixels."""
    height, width = _shape(rng)
    block = int(rng.integers(1, 9))
    size = (-(-height // block), -(-width // block))
    fine = (
        rng.uniform(0, 255, size) if rng.random() < 0.5 else rng.normal(rng.uniform(60, 200), rng.uniform(15, 70), size)
    )
    return np.asarray(np.kron(np.clip(fine, 0, 255), np.ones((block, block)))[:height, :width], np.uint8)


def _text(rng: np.random.Generator) -> Grey:
    """A page of made-up words, black on white or white on black."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = int(rng.integers(420, 640)), int(rng.integers(320, 520))
    paper, ink = (int(rng.integers(225, 256)), int(rng.integers(0, 60)))
    if rng.random() < 0.2:
        paper, ink = ink, paper
    page = Image.new("L", (width, height), paper)
    pen, size = ImageDraw.Draw(page), int(rng.integers(9, 24))
    font = ImageFont.load_default(size)
    letters = np.array(list(string.ascii_lowercase))
    margin, top = int(rng.integers(10, 45)), int(rng.integers(10, 60))
    while top < height - margin:
        if rng.random() < 0.88:  # else a gap between paragraphs
            words = ["".join(rng.choice(letters, int(rng.integers(1, 11)))) for _ in range(40)]
            line, end = "", (width - 2 * margin) * (1.0 if rng.random() < 0.8 else rng.uniform(0.2, 1))
            for word in words:
                if pen.textlength(f"{line} {word}", font) > end:
                    break
                line = f"{line} {word}".strip()
            pen.text((margin, top), line, fill=ink, font=font)
        top += int(size * 1.45)
    return np.asarray(page, np.uint8)


def _hand(rng: np.random.Generator) -> Grey:
    """A drawn radiograph of a hand: bones with bright cortex in soft tissue on black."""
    height, width = int(rng.integers(320, 460)), int(rng.integers(240, 380))
    tissue, bone = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    scale, tilt, side = height / 400, rng.normal(0, 0.12), rng.choice((-1, 1))
    wrist = np.array([width / 2 + rng.normal(0, 12), height * rng.uniform(0.78, 0.86)])

    def along(start: npt.NDArray[np.float64], angle: float, length: float) -> npt.NDArray[np.float64]:
        return start + length * np.array([side * np.sin(angle), -np.cos(angle)])

    def draw(layer: npt.NDArray[np.float32], a: npt.ArrayLike, b: npt.ArrayLike, value: float, thick: float) -> None:
        ends = [tuple(np.rint(np.asarray(end)).astype(int).tolist()) for end in (a, b)]
        cv2.line(layer, ends[0], ends[1], value, max(1, round(thick)), cv2.LINE_AA)

    angles = tilt + np.array([-0.75, -0.27, -0.03, 0.17, 0.40]) + rng.normal(0, 0.04, 5)
    lengths = np.array([(52, 34, 26, 0), (74, 44, 27, 17), (72, 48, 32, 19), (66, 44, 29, 18), (60, 34, 22, 16)])
    for angle, parts in zip(angles, lengths * scale * rng.uniform(0.9, 1.1), strict=True):
        start = along(wrist, 1.1 * angle, 34 * scale)
        for place, length in enumerate(parts[parts > 0]):
            end = along(start, angle, float(length))
            thick = (13 - 2 * place) * scale
            draw(tissue, start, end, 0.42, thick * 2.5)
            for shaft, value in ((thick, 1.0), (thick * 0.55, 0.72)):
                draw(bone, start, end, value, shaft)
            for joint in (start, end):
                cv2.circle(bone, tuple(np.rint(joint).astype(int).tolist()), round(thick * 0.62), 0.85, -1, cv2.LINE_AA)
            start = along(end, angle, 4 * scale)
    fan = [along(wrist, 1.1 * angle, 105 * scale) for angle in angles[1:]]
    palm = np.rint(np.array([along(wrist, -1.0, 30 * scale), *fan, along(wrist, 1.2, 30 * scale)])).astype(np.int32)
    cv2.fillPoly(tissue, [palm], 0.42, cv2.LINE_AA)
    for _ in range(8):  # carpal bones
        at = wrist + rng.normal(0, 1, 2) * (17 * scale, 9 * scale) - (0, 14 * scale)
        cv2.ellipse(bone, (tuple(at.tolist()), (18 * scale, 14 * scale), rng.uniform(0, 180)), 0.9, -1, cv2.LINE_AA)
    for offset in (-15, 13):  # forearm
        elbow = (wrist[0] + offset * scale * 1.3, height + 9)
        draw(bone, wrist + np.array([offset * scale, 6]), elbow, 0.9, 20 * scale)
    draw(tissue, wrist, (wrist[0], height + 9), 0.45, 74 * scale)
    soft = cv2.GaussianBlur(tissue, (0, 0), 4 * scale) * 95 / 0.42
    film = np.maximum(soft, 0) * 0.75 + cv2.GaussianBlur(bone, (0, 0), 1.2) * 140
    film += rng.normal(0, rng.uniform(1, 5), film.shape) + rng.uniform(0, 22)
    return np.asarray(np.clip(film * rng.uniform(0.75, 1.1), 0, 255), np.uint8)


def _blank(rng: np.random.Generator) -> Grey:
    """One grey, or a slow change of grey: a lens cap, an empty page, an unexposed plate."""
    height, width = _shape(rng)
    start, change = rng.uniform(0, 255), rng.uniform(-40, 40) * (rng.random() < 0.5)
    down = np.linspace(0, 1, height)[:, None] * np.ones(width)
    return np.asarray(np.clip(start + change * down + rng.normal(0, rng.uniform(0, 2), down.shape), 0, 255), np.uint8)


def _checkerboard(rng: np.random.Generator) -> Grey:
    """Squares of two greys."""
    height, width = _shape(rng)
    square, dark = int(rng.integers(6, 70)), rng.uniform(0, 110)
    y, x = np.mgrid[0:height, 0:width] // square
    return np.asarray(np.where((y + x) % 2, dark, dark + rng.uniform(60, 145)), np.uint8)


DRAWN: Mapping[str, _Draw] = {
    "scene": _scene,
    "texture": _texture,
    "noise": _noise,
    "text": _text,
    "hand": _hand,
    "blank": _blank,
    "checkerboard": _checkerboard,
}


def _inverted(frame: Grey) -> Grey:
    """Black for white inside the film; the padding around it stays black."""
    rows, columns = (np.flatnonzero(frame.any(axis=axis)) for axis in (1, 0))
    film = frame.copy()
    if len(rows):
        inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        film[inside] = 255 - film[inside]
    return film


ALTERED: Mapping[str, Callable[[Grey], Grey]] = {
    "inverted": _inverted,
    "rotated_90": lambda frame: np.ascontiguousarray(np.rot90(frame)),
    "rotated_180": lambda frame: np.ascontiguousarray(np.rot90(frame, 2)),
    "rotated_270": lambda frame: np.ascontiguousarray(np.rot90(frame, 3)),
}

TITLES: Mapping[str, str] = {
    "scene": "drawn scenes",
    "texture": "textures",
    "noise": "noise",
    "text": "pages of text",
    "hand": "drawn hands",
    "blank": "blank pictures",
    "checkerboard": "checkerboards",
    "inverted": "films, inverted",
    "rotated_90": "films, quarter turn left",
    "rotated_180": "films, upside down",
    "rotated_270": "films, quarter turn right",
}


def draw_pictures(kind: str, count: int, seed: int) -> list[Grey]:
    """Pictures of one kind, as the decoder would give them.

    Args:
        kind: key in :data:`DRAWN`.
        count: how many.
        seed: each picture has a random stream of its own, from seed, kind and place.

    Returns:
        (height, width) uint8 each.

    Raises:
        CxrError: no such kind.
    """
    if kind not in DRAWN:
        raise CxrError(f"No pictures of kind {kind!r} are drawn: use {', '.join(DRAWN)}.")
    place = list(DRAWN).index(kind)
    return [DRAWN[kind](np.random.default_rng([seed, place, number])) for number in range(count)]


def altered_films(kind: str, frames: Frames) -> Frames:
    """Films turned or inverted, (n, size, size) uint8.

    Args:
        kind: key in :data:`ALTERED`.
        frames: (n, size, size) uint8 canonical frames.

    Raises:
        CxrError: no such kind.
    """
    if kind not in ALTERED:
        raise CxrError(f"Films are not altered by {kind!r}: use {', '.join(ALTERED)}.")
    return np.stack([ALTERED[kind](frame) for frame in frames]) if len(frames) else frames.copy()
