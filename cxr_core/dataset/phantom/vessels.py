"""Branching trees: pulmonary vessels inside the lungs, and the bronchi that show as air bronchograms."""

import numpy as np
from numpy.typing import NDArray

from cxr_core.dataset.phantom.anatomy import Anatomy
from cxr_core.dataset.phantom.canvas import Image, blank_layer, columns, rows, strokes, unit
from cxr_core.dataset.phantom.thorax import Thorax

VESSEL_DEPTH = 0.27
HILUM_DEPTH = 0.17
_STEPS = 5  # points along one branch between two forks


def branching_tree(
    rng: np.random.Generator,
    origins: NDArray[np.float64],
    directions: NDArray[np.float64],
    length: float,
    generations: int,
) -> list[NDArray[np.float64]]:
    """Grow a dichotomous tree, every branch forking into two shorter ones.

    Args:
        rng: Source of randomness.
        origins: (n, 2) starting points, patient units.
        directions: (n,) initial angles in radians, 0 along +x and pi/2 downwards.
        length: Length of the first generation, patient units.
        generations: Number of generations.

    Returns:
        For each generation its branches, (branches, points, 2).
    """
    grown: list[NDArray[np.float64]] = []
    points, angles = origins.astype(np.float64), directions.astype(np.float64)
    for generation in range(generations):
        count = len(points)
        reach = length * 0.80**generation * rng.uniform(0.65, 1.3, count)
        bend = rng.normal(0, 0.13, (count, _STEPS)).cumsum(axis=1)
        headings = angles[:, None] + bend
        steps = np.stack([np.cos(headings), np.sin(headings)], axis=2) * (reach / _STEPS)[:, None, None]
        paths = np.concatenate([points[:, None, :], points[:, None, :] + steps.cumsum(axis=1)], axis=1)
        grown.append(paths)
        spread = rng.uniform(0.18, 0.55, (count, 2)) * np.array([-1.0, 1.0])
        points = np.repeat(paths[:, -1], 2, axis=0)
        angles = (headings[:, -1:] + spread).reshape(-1)
    return grown


def hila(anatomy: Anatomy, inspiration: float) -> NDArray[np.float64]:
    """Positions of the right and left hilum, (2, 2), patient units; the left lies a little higher."""
    y = 0.425 + 0.012 * inspiration
    reach = anatomy.mediastinum + 0.034
    return np.array([[-reach, y], [reach + 0.008, y - 0.018]])


def vessel_depth(anatomy: Anatomy, thorax: Thorax, inspiration: float) -> Image:
    """Optical depth of hila and pulmonary vessels, (HEIGHT, WIDTH) float32.

    The tree belongs to the patient (`texture_seed`); calibre falls from the hilum to the pleura, and lower-zone
    vessels are wider than upper-zone ones, as on an erect film.
    """
    rng = np.random.default_rng(anatomy.texture_seed + 2)
    layer = blank_layer()
    centres = hila(anatomy, inspiration)
    for side, centre in zip((-1.0, 1.0), centres, strict=True):
        mains = 11
        elevation = np.linspace(-1.32, 1.30, mains) + rng.normal(0, 0.12, mains)
        heading = elevation if side > 0 else np.pi - elevation
        origin = centre + np.stack([rng.normal(-0.004 * side, 0.007, mains), 0.042 * np.sin(elevation)], axis=1)
        tree = branching_tree(rng, origin, heading, 0.080, 6)
        for generation, branches in reversed(list(enumerate(tree))):
            width = 0.0105 * 0.74**generation
            strokes(layer, branches, width, 0.85 * 0.80**generation)
    erect = 0.75 + 0.5 * np.clip((rows() - 0.25) / 0.45, 0, 1)
    vessels = unit(layer, 0.0020) * erect * np.clip(thorax.air + 0.15, 0, 1)
    hilum = np.zeros_like(vessels)
    for centre in centres:
        dx, dy = (columns() - centre[0]) / 0.030, (rows() - centre[1]) / 0.052
        hilum += np.exp(-(dx**2) - dy**2).astype(np.float32)
    return np.float32(anatomy.vessels) * (VESSEL_DEPTH * vessels + HILUM_DEPTH * hilum).astype(np.float32)


def bronchogram(rng: np.random.Generator, origin: NDArray[np.float64], target: NDArray[np.float64]) -> Image:
    """Air-filled bronchi running from `origin` to and beyond `target` (each (2,)), 0..1 on the canvas."""
    towards = np.arctan2(target[1] - origin[1], target[0] - origin[0])
    distance = float(np.hypot(*(target - origin)))
    start = origin + 0.45 * (target - origin)
    tree = branching_tree(
        rng, np.repeat(start[None], 3, axis=0), towards + np.array([-0.35, 0.0, 0.35]), max(0.05, 0.42 * distance), 4
    )
    layer = blank_layer()
    for generation, branches in enumerate(tree):
        strokes(layer, branches, 0.0105 * 0.80**generation, 1.0)
    return unit(layer, 0.0022)
