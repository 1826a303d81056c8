"""Lesions: consolidation (pneumonia), and infiltrate, nodules, cavities and fibrosis (tuberculosis).

A lesion replaces air, so its optical depth is bounded by the aerated lung on its path and it ends at the pleura.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cxr_core.dataset.phantom.anatomy import Anatomy
from cxr_core.dataset.phantom.canvas import (
    HEIGHT,
    WIDTH,
    XS,
    YS,
    Image,
    Mask,
    blank_layer,
    columns,
    rows,
    smooth_noise,
    strokes,
    unit,
)
from cxr_core.dataset.phantom.thorax import LUNG_AIR, Thorax
from cxr_core.dataset.phantom.vessels import branching_tree, bronchogram, hila

MASK_SHARE = 0.22  # a pixel belongs to the lesion mask where at least this share of its air is replaced


@dataclass(frozen=True)
class Lesions:
    """Lesions of one film on the canvas.

    Attributes:
        depth: Optical depth added, float32 (HEIGHT, WIDTH).
        mask: Pixels that belong to a lesion, bool (HEIGHT, WIDTH).
    """

    depth: Image
    mask: Mask


def _place(thorax: Thorax, side: float, across: float, down: float) -> NDArray[np.float64]:
    """The point of a lung at `across` (0 medial to 1 lateral) and `down` (0 apex to 1 base), (2,)."""
    half = thorax.lung[:, XS * side > 0]
    occupied = np.flatnonzero(half.any(axis=1))
    row = int(occupied[int(down * (len(occupied) - 1))])
    filled = np.flatnonzero(thorax.lung[row] & (XS * side > 0))
    order = filled if side > 0 else filled[::-1]
    return np.array([XS[order[int(across * (len(order) - 1))]], YS[row]], dtype=np.float64)


def _distance(centre: NDArray[np.float64], stretch: float = 1.0, angle: float = 0.0) -> Image:
    """Distance of every pixel from a centre in an elliptical metric, float32 (HEIGHT, WIDTH)."""
    dx, dy = columns() - np.float32(centre[0]), rows() - np.float32(centre[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return np.sqrt(((c * dx + s * dy) / np.float32(stretch)) ** 2 + (c * dy - s * dx) ** 2).astype(np.float32)


def consolidation(
    patient: np.random.Generator, film: np.random.Generator, anatomy: Anatomy, thorax: Thorax, inspiration: float
) -> Image:
    """Air replaced by lower-zone consolidation, 0..1 on the canvas.

    Args:
        patient: Draws what the films of a patient share: side, place, extent, irregularity.
        film: Draws what changes from film to film: density and extent of the day.
        anatomy: The patient.
        thorax: Outlines for this film.
        inspiration: State of inspiration, -1..1.
    """
    first = 1.0 if patient.random() < 0.5 else -1.0
    patches = 1 + int(patient.random() < 0.40)
    share = np.zeros((HEIGHT, WIDTH), np.float32)
    noise = smooth_noise(patient, 0.075, 3)
    severity = patient.uniform(0.74, 1.0)
    for index in range(patches):
        side = first if index == 0 or patient.random() < 0.45 else -first
        down = patient.uniform(0.60, 0.88) if patient.random() < 0.88 else patient.uniform(0.40, 0.58)
        centre = _place(thorax, side, patient.uniform(0.22, 0.68), down)
        centre = centre + film.normal(0, 0.006, 2)
        radius = patient.uniform(0.074, 0.138) * film.uniform(0.9, 1.1) * (1.0 if index == 0 else 0.75)
        r = _distance(centre, patient.uniform(1.0, 1.5), patient.uniform(-0.8, 0.8)) / np.float32(radius)
        patch = expit((1.0 + 0.20 * noise - r) / np.float32(patient.uniform(0.13, 0.24)))
        hilum = hila(anatomy, inspiration)[0 if side < 0 else 1]
        bronchi = bronchogram(patient, hilum, centre)
        patch = patch * (0.90 + 0.08 * np.clip(noise, -1.5, 1.5)) * (1 - 0.30 * bronchi)
        share = np.maximum(share, patch)
    return np.clip(share * severity * film.uniform(0.88, 1.05), 0, 0.95).astype(np.float32)


def _cavity(centre: NDArray[np.float64], radius: float, wall: float, angle: float, rough: Image) -> tuple[Image, Image]:
    """A thick-walled cavity of irregular outline: the ring's share of air replaced, and its lumen, each 0..1."""
    r = _distance(centre, 1.25, angle) + np.float32(0.13 * radius) * np.clip(rough, -2, 2)
    ring = np.exp(-(((r - np.float32(radius)) / np.float32(wall)) ** 2))
    lumen = expit((np.float32(radius - 0.6 * wall) - r) / np.float32(0.0026))
    ring = ring * (0.84 + 0.16 * np.clip(rough, -1.5, 1.0))
    return ring.astype(np.float32), lumen.astype(np.float32)


def tuberculosis(
    patient: np.random.Generator, film: np.random.Generator, anatomy: Anatomy, thorax: Thorax, inspiration: float
) -> Image:
    """Air replaced by upper-zone infiltrate, nodules, cavities and fibrosis, 0..1; arguments of `consolidation`."""
    first = 1.0 if patient.random() < 0.45 else -1.0
    sides = [first, -first] if patient.random() < 0.4 else [first]
    severity = patient.uniform(0.66, 1.0) * film.uniform(0.9, 1.05)
    patchy = smooth_noise(patient, 0.034, 3)
    share = np.zeros((HEIGHT, WIDTH), np.float32)
    for index, side in enumerate(sides):
        centre = _place(thorax, side, patient.uniform(0.35, 0.65), patient.uniform(0.12, 0.30))
        centre = centre + film.normal(0, 0.005, 2)
        radius = patient.uniform(0.06, 0.105) * (1.0 if index == 0 else 0.8)
        r = _distance(centre, 1.15, patient.uniform(-1.2, 1.2)) / np.float32(radius)
        envelope = expit((1.0 - r) / np.float32(0.16))
        patches = expit((patchy - np.float32(patient.uniform(-0.1, 0.5))) / np.float32(0.35))
        share = np.maximum(share, envelope * (0.20 + 0.60 * patches))
        for _ in range(int(patient.integers(6, 18))):
            spot = centre + patient.normal(0, 0.75 * radius, 2)
            size = patient.uniform(0.006, 0.013)
            nodule = np.exp(-((_distance(spot) / np.float32(size)) ** 2.6))
            share = np.maximum(share, np.float32(patient.uniform(0.35, 0.75)) * nodule)
        streaks = blank_layer()
        hilum = hila(anatomy, inspiration)[0 if side < 0 else 1]
        up = np.arctan2(centre[1] - hilum[1], centre[0] - hilum[0]) + np.array([-0.25, -0.05, 0.15, 0.35])
        start = np.repeat((hilum + 0.35 * (centre - hilum))[None], 4, axis=0)
        for branches in branching_tree(patient, start, up, 0.07, 2):
            strokes(streaks, branches, 0.0045, 1.0)
        share = np.maximum(share, np.float32(patient.uniform(0.15, 0.4)) * unit(streaks, 0.0025))
        cavities = int(patient.random() < 0.75) + int(patient.random() < 0.3)
        for number in range(cavities if index == 0 else int(patient.random() < 0.35)):
            spot = centre + (patient.normal(0, 0.35 * radius, 2) if number == 0 else patient.normal(0, 0.8 * radius, 2))
            size, wall = patient.uniform(0.018, 0.038), patient.uniform(0.007, 0.013)
            ring, lumen = _cavity(spot, size, wall, patient.uniform(-1, 1), patchy)
            share = np.maximum(share * (1 - 0.88 * lumen), np.float32(patient.uniform(0.65, 0.9)) * ring)
    return np.clip(share * severity, 0, 0.95).astype(np.float32)


def lesions_for(label: str, film: np.random.Generator, anatomy: Anatomy, thorax: Thorax, inspiration: float) -> Lesions:
    """Lesions of a film of class `label`; empty for `Normal`.

    Raises:
        ValueError: `label` is not one of the three classes.
    """
    if label == "Normal":
        empty = np.zeros((HEIGHT, WIDTH), np.float32)
        return Lesions(empty, empty.astype(np.bool_))
    patient = np.random.default_rng(anatomy.texture_seed + 3)
    if label == "Pneumonia":
        share = consolidation(patient, film, anatomy, thorax, inspiration)
    elif label == "Tuberculosis":
        share = tuberculosis(patient, film, anatomy, thorax, inspiration)
    else:
        raise ValueError(f"unknown class {label!r}")
    depth = (share * thorax.air * np.float32(LUNG_AIR)).astype(np.float32)
    return Lesions(depth, (share > MASK_SHARE * share.max()) & thorax.lung)
