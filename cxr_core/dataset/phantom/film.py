"""One film: optical depths summed, projected onto the detector and turned into grey levels.

The chain is that of a radiograph: transmission `exp(-depth)`, scatter added, the logarithm taken, quantum noise that
grows with the depth, and a sigmoid characteristic curve with the site's latitude and gamma.
"""

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cxr_core.dataset.phantom.anatomy import Anatomy, Pose, sample_pose
from cxr_core.dataset.phantom.canvas import PIXELS_PER_UNIT, X_LIMIT, Y_START, Image
from cxr_core.dataset.phantom.lesions import lesions_for
from cxr_core.dataset.phantom.sites import SITE_TABLE, Site
from cxr_core.dataset.phantom.skeleton import skeleton_depth
from cxr_core.dataset.phantom.thorax import build_thorax
from cxr_core.dataset.phantom.vessels import vessel_depth

CLEAN_MEAN = (84.0, 150.0)  # mean grey of a properly exposed film, well inside the accepted 50..200
_CENTRE = np.array([0.0, 0.47])  # the point of the patient that a film at rest is centred on
_AREA_STEP = 11  # exposure is set on every eleventh pixel of every eleventh row: within half a grey level of all


@dataclass(frozen=True)
class Film:
    """A rendered film.

    Attributes:
        pixels: Grey levels, bright where dense, uint8 (h, w).
        lesion_mask: 255 inside lesions, else 0, uint8 (h, w); all 0 for `Normal`.
        lung_mask: 255 inside the lung fields, else 0, uint8 (h, w).
    """

    pixels: NDArray[np.uint8]
    lesion_mask: NDArray[np.uint8]
    lung_mask: NDArray[np.uint8]


def _frame(rng: np.random.Generator, site: Site) -> tuple[int, int]:
    """Height and width of a film in pixels."""
    aspect = rng.uniform(*site.aspect)
    long_side = int(rng.integers(site.long_side[0], site.long_side[1] + 1))
    if aspect >= 1:
        return round(long_side / aspect), long_side
    return long_side, round(long_side * aspect)


def _projection(pose: Pose, height: int, width: int) -> NDArray[np.float64]:
    """The 2x3 affine map from canvas pixels to film pixels."""
    # Wide films are taken closer, narrow ones from further away, so that the thorax fills the frame either way.
    zoom = pose.scale * (1.04 + 0.32 * (width / height - 0.85)) * height
    c, s = np.cos(pose.tilt) * zoom, np.sin(pose.tilt) * zoom
    linear = np.array([[c, -s], [s, c]])
    centre = np.array([width / 2 + pose.shift_x * height, (_CENTRE[1] + pose.shift_y) * height])
    # canvas pixel p -> patient (p + .5) / k + origin -> film
    origin = np.array([-X_LIMIT, Y_START]) + 0.5 / PIXELS_PER_UNIT
    offset = centre + linear @ (origin - _CENTRE) - 0.5
    return np.hstack([linear / PIXELS_PER_UNIT, offset[:, None]])


def _wide_blur(image: Image, sigma: float, step: int) -> Image:
    """Gaussian blur by `sigma` pixels, computed on a grid `step` times coarser."""
    coarse = cv2.resize(image, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigma / step)
    return cast(Image, cv2.resize(coarse, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR))


def _with_scatter(depth: Image, share: float) -> Image:
    """Apparent optical depth once scattered radiation, a wide blur of the transmission, is added."""
    transmission = np.exp(-depth)
    veil = _wide_blur(transmission, 0.07 * PIXELS_PER_UNIT, 8)
    return cast(Image, -np.log((1 - share) * transmission + share * veil))


def _respond(depth: Image, centre: float, latitude: float, gamma: float) -> Image:
    """Characteristic curve: optical depth to grey level 0..255."""
    density = expit((depth - np.float32(centre)) / np.float32(latitude))
    return (255 * density ** np.float32(gamma)).astype(np.float32)


def _expose(depth: Image, latitude: float, gamma: float, target: float, open_share: float) -> float:
    """The centre of the characteristic curve at which the film's mean grey is `target` (bisection)."""
    sample = np.ascontiguousarray(depth[::_AREA_STEP, ::_AREA_STEP])
    low, high = -4.0, 6.0
    for _ in range(18):
        middle = (low + high) / 2
        if open_share * float(_respond(sample, middle, latitude, gamma).mean()) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _collimate(rng: np.random.Generator, site: Site, height: int, width: int) -> tuple[int, int, int, int]:
    """Rows and columns (top, bottom, left, right) that stay open between the collimator blades."""
    top, bottom, left, right = rng.uniform(*site.border, 4)
    return int(top * height), height - int(bottom * height), int(left * width), width - int(right * width)


def _mark(pixels: NDArray[np.uint8], rng: np.random.Generator, site: Site) -> None:
    """Put the site's lead side marker near an upper corner, in place."""
    height, width = pixels.shape
    size = height / 460
    x = rng.uniform(0.05, 0.09) if site.marker == "R" else rng.uniform(0.88, 0.92)
    place = (int(x * width), int(rng.uniform(0.09, 0.16) * height))
    cv2.putText(pixels, site.marker, place, cv2.FONT_HERSHEY_SIMPLEX, size, 240, max(1, int(2.2 * size)), cv2.LINE_AA)


def render_film(
    rng: np.random.Generator,
    anatomy: Anatomy,
    label: str,
    site: str,
    *,
    pose: Pose | None = None,
    mean_grey: float | None = None,
    collimated: bool = True,
    lesion_density: float = 1.0,
) -> Film:
    """Render one film in memory.

    Args:
        rng: Draws everything that belongs to this film.
        anatomy: The patient, see `sample_anatomy`.
        label: `Normal`, `Pneumonia` or `Tuberculosis`.
        site: `north` or `south`.
        pose: Position and inspiration; drawn from `rng` if left out.
        mean_grey: Mean grey level to expose for, 0..255. Left out, it is drawn from `CLEAN_MEAN` whatever the class:
            automatic exposure brings every film to a similar blackening, so brightness tells nothing about disease.
        collimated: Whether the site's collimation border is black, as usual, or left open.
        lesion_density: Optical depth of lesions, times the usual one; above 1 as if they were deeper than the lung.

    Returns:
        The film with its masks, all of one size.

    Raises:
        ValueError: Unknown label.
        KeyError: Unknown site.
    """
    equipment = SITE_TABLE[site]
    pose = sample_pose(rng) if pose is None else pose
    target = rng.uniform(*CLEAN_MEAN) if mean_grey is None else mean_grey
    thorax = build_thorax(anatomy, pose)
    lesions = lesions_for(label, rng, anatomy, thorax, pose.inspiration)
    lesions = replace(lesions, depth=lesions.depth * np.float32(lesion_density))
    depth = thorax.soft_tissue + skeleton_depth(anatomy, pose, thorax) + lesions.depth
    # Vessels inside consolidated lung have no air beside them and vanish (the silhouette sign).
    depth += vessel_depth(anatomy, thorax, pose.inspiration) * (1 - np.minimum(1.2 * lesions.depth, 0.85))
    depth = _with_scatter(depth, rng.uniform(*equipment.scatter))

    height, width = _frame(rng, equipment)
    matrix = _projection(pose, height, width)
    size = (width, height)
    image = cast(Image, cv2.warpAffine(depth, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    lung = cv2.warpAffine(thorax.lung.astype(np.uint8) * 255, matrix, size, flags=cv2.INTER_NEAREST)
    lesion = cv2.warpAffine(lesions.mask.astype(np.uint8) * 255, matrix, size, flags=cv2.INTER_NEAREST)

    gain = rng.uniform(*equipment.edge_gain)
    if gain > 0.02:
        image += np.float32(gain) * (image - _wide_blur(image, height / 110, 4))
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(*equipment.blur))
    grain *= np.float32(rng.uniform(*equipment.noise) / max(float(grain.std()), 1e-6))
    # Fewer quanta reach the detector behind dense parts: noise in the logarithm grows as exp(depth / 2).
    image += grain * np.exp(image * np.float32(0.5))

    top, bottom, left, right = _collimate(rng, equipment, height, width) if collimated else (0, height, 0, width)
    latitude, gamma = rng.uniform(*equipment.latitude), rng.uniform(*equipment.gamma)
    opened = (bottom - top) * (right - left) / (height * width)
    centre = _expose(image[top:bottom, left:right], latitude, gamma, target, opened)
    grey = np.zeros((height, width), np.float32)
    grey[top:bottom, left:right] = _respond(image[top:bottom, left:right], centre, latitude, gamma)
    pixels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if rng.random() < equipment.marker_share:
        _mark(pixels, rng, equipment)
    return Film(pixels, cast("NDArray[np.uint8]", lesion), cast("NDArray[np.uint8]", lung))
