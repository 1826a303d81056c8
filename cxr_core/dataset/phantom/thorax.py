"""Soft tissue: body, lung fields, heart and mediastinum, diaphragm, breast shadows, trachea and main bronchi.

Everything is an optical depth (attenuation times path length, dimensionless) on the canvas of `canvas`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import expit

from cxr_core.dataset.phantom.anatomy import Anatomy, Pose
from cxr_core.dataset.phantom.canvas import (
    PIXELS_PER_UNIT,
    XS,
    YS,
    Image,
    Mask,
    blank_layer,
    columns,
    curve_through,
    rows,
    smooth_noise,
    soft,
    strokes,
    unit,
)

BODY_DEPTH = 1.45  # optical depth through the chest of an average patient without lungs
LUNG_AIR = 1.02  # of which aerated lung takes this much away
HIDDEN_AIR = 0.20  # lung behind the heart and the mediastinum
HEART_DEPTH = 0.30
ABDOMEN_DEPTH = 0.34


@dataclass(frozen=True)
class Thorax:
    """Outlines of one patient in one state of inspiration.

    Attributes:
        lung: Lung fields as they are traced on films: without heart, mediastinum and infradiaphragmatic lung;
            bool (HEIGHT, WIDTH).
        air: Fraction of the full depth of aerated lung, 0..1, float32 (HEIGHT, WIDTH).
        below: Below the diaphragm, soft-edged, 0..1, float32 (HEIGHT, WIDTH).
        soft_tissue: Optical depth without lesions, vessels and bones, float32 (HEIGHT, WIDTH).
        lateral: Outer lung border by row, float32 (HEIGHT,).
        left_border, right_border: Distance of the mediastinal border from the midline by row, float32 (HEIGHT,).
        diaphragm: `y` of the diaphragm by column, float32 (WIDTH,).
        apex: `y` of the apices.
    """

    lung: Mask
    air: Image
    below: Image
    soft_tissue: Image
    lateral: Image
    left_border: Image
    right_border: Image
    diaphragm: Image
    apex: float


def _bump(y: Image, centre: float, above: float, below: float) -> Image:
    """An asymmetric Gaussian of height 1 over rows; `above` and `below` are its widths."""
    width = np.where(y < centre, np.float32(above), np.float32(below))
    return np.exp(-0.5 * ((y - np.float32(centre)) / width) ** 2).astype(np.float32)


def lateral_border(anatomy: Anatomy, pose: Pose, y: Image) -> Image:
    """Half width of the lung field at the rows `y` (any shape); the apical value above the apex."""
    widest = anatomy.half_width * (1 + 0.015 * pose.inspiration)
    start = 0.36 * widest
    u = np.clip((y - anatomy.apex) / 0.50, 0, 1)
    rise = np.sqrt(np.maximum(1 - (1 - u) ** anatomy.shoulder_power, 0))
    taper = 0.02 * np.clip((y - 0.70) / 0.2, 0, 1) ** 2
    return (start + (widest - start) * rise - taper).astype(np.float32)


def _mediastinal_borders(anatomy: Anatomy, pose: Pose) -> tuple[Image, Image]:
    """Left and right borders of the mediastinal silhouette, distance from the midline by row."""
    width = anatomy.heart * (1 - 0.05 * pose.inspiration) * 2 * anatomy.half_width
    level = anatomy.heart_level + 0.02 * pose.inspiration
    core = anatomy.mediastinum
    left = core + anatomy.knob * _bump(YS, 0.30, 0.028, 0.032) + 0.016 * _bump(YS, 0.39, 0.03, 0.04)
    left = left + (0.67 * width - core) * _bump(YS, level + 0.03, 0.105, 0.2)
    right = core + 0.008 * _bump(YS, 0.36, 0.08, 0.06) + (0.33 * width - core) * _bump(YS, level, 0.085, 0.13)
    return (left + pose.yaw).astype(np.float32), (right - pose.yaw).astype(np.float32)


def _diaphragm(anatomy: Anatomy, pose: Pose) -> Image:
    """`y` of the diaphragm by column: two domes that fall towards the costophrenic angles."""
    base = anatomy.dome + 0.032 * pose.inspiration
    centre = 0.47 * anatomy.half_width
    lateral = np.clip((np.abs(XS) - centre) / (anatomy.half_width - centre), -1, 1.3)
    fall = anatomy.dome_fall * np.where(lateral > 0, np.abs(lateral) ** 2.3, 0.25 * np.abs(lateral) ** 2)
    blend = expit(XS / np.float32(0.03))
    return (base + anatomy.dome_drop * blend + fall).astype(np.float32)


def _body(anatomy: Anatomy, pose: Pose) -> Image:
    """Optical depth of the trunk, neck and shoulders, elliptical in cross section."""
    torso = anatomy.half_width + anatomy.wall
    s = pose.shoulders
    half_width = PchipInterpolator(
        [-0.2, 0.00 + s, 0.06 + s, 0.10 + s, 0.15 + s, 0.24 + s, 0.36, 0.60, 1.2],
        [0.105, 0.12, 0.22, 0.42, 0.62, 0.74, 0.66, torso, torso + 0.02],
    )(YS).astype(np.float32)[:, None]
    thickness = PchipInterpolator([-0.2, 0.05, 0.2, 0.4, 0.7, 1.2], [0.95, 0.95, 0.92, 1.0, 1.0, 1.05])(YS)
    profile = np.sqrt(np.clip(1 - (columns() / half_width) ** 2, 0, 1))
    return (BODY_DEPTH * anatomy.habitus * thickness.astype(np.float32)[:, None] * profile**0.8).astype(np.float32)


def _breasts(anatomy: Anatomy) -> Image:
    """Optical depth of breast shadows with their curved lower margin."""
    x = np.abs(columns()) - np.float32(0.60 * anatomy.half_width)
    y = rows() - np.float32(anatomy.dome - 0.03)
    radius = np.sqrt((x / 0.155) ** 2 + (np.where(y < 0, y / 0.20, y / 0.115)) ** 2)
    return (np.float32(anatomy.breast) * np.clip(1.08 - radius, 0, 1) ** 0.6).astype(np.float32)


def _airway(anatomy: Anatomy, pose: Pose) -> Image:
    """Trachea and main bronchi as fractions of their full air path, 0..1."""
    carina = 0.365 + 0.01 * pose.inspiration
    x = anatomy.trachea + 0.5 * pose.yaw
    layer = blank_layer()
    strokes(layer, [curve_through([(x + 0.004, -0.1), (x, 0.2), (x - 0.004, carina)])], 0.034, 1.0)
    strokes(layer, [curve_through([(x - 0.004, carina - 0.008), (x - 0.045, carina + 0.055)])], 0.024, 0.75)
    strokes(layer, [curve_through([(x - 0.004, carina - 0.008), (x + 0.065, carina + 0.058)])], 0.020, 0.7)
    return unit(layer, 0.005)


def build_thorax(anatomy: Anatomy, pose: Pose) -> Thorax:
    """Outline the thorax and sum its soft tissue.

    Returns:
        Outlines and optical depths on the canvas; deterministic in its arguments.
    """
    lateral = lateral_border(anatomy, pose, YS)
    left, right = _mediastinal_borders(anatomy, pose)
    diaphragm = _diaphragm(anatomy, pose)
    # The apex is a dome around its own axis: the medial border swings out from the mediastinum towards it.
    axis = 0.36 * anatomy.half_width
    u = np.clip((YS - anatomy.apex) / 0.11, 0, 1)
    dome = (axis * (1 - np.sqrt(1 - (1 - u) ** 2))).astype(np.float32)
    apical = np.where(anatomy.apex <= YS, axis - (axis - dome) * np.sqrt(u), np.inf)
    medial = np.where(columns() > 0, np.maximum(left, apical)[:, None], np.maximum(right, apical)[:, None])
    distance = np.abs(columns())
    inside = (distance < lateral[:, None]) & (rows() < diaphragm[None, :]) & (rows() > anatomy.apex)
    lung = inside & (distance > medial)

    depth = cv2.distanceTransform(lung.astype(np.uint8), cv2.DIST_L2, 3) / np.float32(PIXELS_PER_UNIT)
    edge = soft(lung, 0.0028)
    zone = PchipInterpolator([-0.2, 0.12, 0.3, 0.5, 0.8, 1.2], [0.62, 0.66, 0.95, 1.0, 0.92, 0.9])(YS)
    air = edge * (0.55 + 0.45 * (1 - np.exp(-depth / np.float32(0.035)))) * zone.astype(np.float32)[:, None]
    # Acini and small vessels below the resolution of the tree.
    parenchyma = smooth_noise(np.random.default_rng(anatomy.texture_seed + 4), 0.028, 2)
    air = np.clip(air * (1 - 0.035 * parenchyma), 0, 1).astype(np.float32)

    heart_rows = soft(inside & ~lung, 0.004) * expit((rows() - 0.43) / np.float32(0.022))
    heart = np.where(columns() > 0, columns() / (left[:, None] + 0.02), -columns() / (right[:, None] + 0.02))
    heart = np.sqrt(np.clip(1 - heart**2, 0, 1)) * heart_rows
    cavity = soft(inside & ~lung, 0.012) * (0.5 + 0.5 * expit((rows() - 0.43) / np.float32(0.03)))
    flank = np.sqrt(np.clip(1.25 * (1 - (distance / (lateral[:, None] + np.float32(0.06))) ** 2), 0, 1))
    below = (soft(rows() > diaphragm[None, :], 0.003) * flank).astype(np.float32)

    tissue = _body(anatomy, pose) + HEART_DEPTH * heart + ABDOMEN_DEPTH * below
    tissue -= HIDDEN_AIR * cavity + LUNG_AIR * air * np.float32(1 + 0.10 * pose.inspiration)
    tissue -= 0.34 * _airway(anatomy, pose)
    if anatomy.breast > 0:
        tissue += _breasts(anatomy)
    if anatomy.gastric_bubble > 0:
        dx = (columns() - np.float32(0.42 * anatomy.half_width)) / 0.075
        dy = (rows() - np.float32(anatomy.dome + anatomy.dome_drop + 0.032 * pose.inspiration + 0.065)) / 0.042
        tissue -= np.float32(0.38 * anatomy.gastric_bubble) * np.clip(1.2 - dx**2 - dy**2, 0, 1)
    muscle = smooth_noise(np.random.default_rng(anatomy.texture_seed), 0.22, 3)
    tissue *= 1 + 0.035 * muscle
    tissue = np.maximum(tissue, 0).astype(np.float32)
    return Thorax(lung, air, below, tissue, lateral, left, right, diaphragm, anatomy.apex)
