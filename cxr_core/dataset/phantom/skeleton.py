"""Bones: posterior and anterior ribs, clavicles, spine, scapulae and humeral heads, as optical depths."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cxr_core.dataset.phantom.anatomy import Anatomy, Pose
from cxr_core.dataset.phantom.canvas import (
    Image,
    blank_layer,
    blur,
    columns,
    curve_through,
    polygon,
    rows,
    strokes,
    unit,
)
from cxr_core.dataset.phantom.thorax import Thorax, lateral_border

RIB_DEPTH = 0.27
ANTERIOR_SHARE = 0.5  # the anterior ends lie nearer the detector's far side and end in lucent cartilage
CLAVICLE_DEPTH = 0.30
SPINE_DEPTH = 0.34
SCAPULA_DEPTH = 0.20
_CORTEX = 0.0046  # breadth of the dense margin of a rib, patient units


def rib_curves(anatomy: Anatomy, pose: Pose) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Centre lines of the ribs.

    Each rib is a tilted elliptical ring seen from the front: at the angle `phi` from the spine its distance from the
    midline is `W sin(phi)` and its drop is `(1 - cos(phi)) / 2` of the full drop. Posterior parts end where the ring
    turns forward (`phi` = pi/2), anterior parts run on to the costochondral junction.

    Returns:
        Posterior and anterior curves, each (n, 2) in patient coordinates.
    """
    rng = np.random.default_rng(anatomy.texture_seed + 1)
    posterior, anterior = [], []
    pitch = anatomy.rib_pitch * (1 + 0.02 * pose.inspiration)
    for index in range(anatomy.rib_count):
        depth = index / 9.0
        drop = anatomy.rib_slope * min(1.0, 0.30 + 0.95 * depth) * (1 - 0.13 * pose.inspiration)
        start = anatomy.apex + 0.002 + pitch * index * (1 - 0.02 * max(0, index - 6) / 6)
        side_drop = rng.normal(0, 0.003)
        for side in (-1.0, 1.0):
            wobble = rng.normal(0, 0.0018, 3)
            top = start + side * side_drop
            wide = float(lateral_border(anatomy, pose, np.array([top + drop / 2], np.float32))[0]) + 0.008
            end = (0.70 + 0.02 * rng.standard_normal()) * np.pi if 0 < index < 9 else 0.56 * np.pi
            phi = np.linspace(0.10 if wide > 0.2 else 0.2, end, 44)
            x = wide * np.sin(phi)
            y = top + drop * (1 - np.cos(phi)) / 2 - 0.012 * np.sin(2 * np.minimum(phi, np.pi / 2))
            y = y + wobble[0] * np.sin(2 * phi) + wobble[1] * np.sin(3 * phi)
            turned = np.clip((phi - np.pi / 2) / (np.pi / 2), 0, 1)
            curve = np.stack([side * x + pose.yaw * turned, y + 0.05 * turned**1.3], axis=1)
            behind = phi <= (np.pi / 2 + 0.06 if index < 9 else 1.25)
            posterior.append(curve[behind])
            if 0 < index < 9:
                anterior.append(curve[phi >= np.pi / 2 - 0.12])
    return posterior, anterior


def _tubes(curves: list[NDArray[np.float64]], width: float) -> Image:
    """Ribs as flat bands with denser margins, 0..1."""
    outer, inner = blank_layer(), blank_layer()
    strokes(outer, curves, width, 1.0)
    strokes(inner, curves, width - 2 * _CORTEX, 1.0)
    return blur(unit(outer) - 0.42 * unit(inner), 0.0026)


def _clavicles(anatomy: Anatomy, pose: Pose) -> Image:
    """Both clavicles: S-shaped, thicker at the medial end."""
    outer, inner = blank_layer(), blank_layer()
    for side in (-1.0, 1.0):
        medial = anatomy.clavicle + 0.25 * side * pose.yaw
        lateral = medial - anatomy.clavicle_rise + pose.shoulders
        x0 = side * 0.032 + pose.yaw
        points = [
            (x0, medial),
            (x0 + side * 0.10, medial - 0.30 * anatomy.clavicle_rise + 0.010),
            (x0 + side * 0.21, medial - 0.75 * anatomy.clavicle_rise - 0.004),
            (x0 + side * 0.36, lateral - 0.012),
        ]
        line = curve_through(points, 30)
        strokes(outer, [line], 0.021, 1.0)
        strokes(outer, [line[:8]], 0.027, 1.0)
        strokes(inner, [line], 0.011, 1.0)
    return blur(unit(outer) - 0.35 * unit(inner), 0.003)


def _spine(anatomy: Anatomy, pose: Pose) -> Image:
    """Vertebral column with disc spaces, pedicles and spinous processes, about 0..1.3."""
    y = rows()
    centre = anatomy.spine_bow * np.sin(np.pi * (y - 0.1) / 0.9) - 0.3 * pose.yaw
    pitch = 0.92 * anatomy.rib_pitch
    phase = ((y - anatomy.apex) / pitch) % 1.0
    half = (0.034 + 0.012 * np.clip(y, 0, 1)) * (1 + 0.07 * np.cos(2 * np.pi * phase))
    x = (columns() - centre).astype(np.float32)
    disc = np.exp(-0.5 * (np.minimum(phase, 1 - phase) / 0.085) ** 2)
    plate = np.exp(-0.5 * ((np.minimum(phase, 1 - phase) - 0.17) / 0.04) ** 2)
    body = expit((half - np.abs(x)) / np.float32(0.003))
    body = body * (0.86 - 0.36 * disc + 0.16 * plate)
    pedicle = np.exp(-(((np.abs(x) - 0.62 * half) / 0.0075) ** 2) - ((phase - 0.42) / 0.14) ** 2)
    process = np.exp(-((x / 0.006) ** 2) - ((phase - 0.72) / 0.17) ** 2)
    return (body + 0.30 * pedicle + 0.28 * process).astype(np.float32)


def _shoulder_blades(anatomy: Anatomy, pose: Pose) -> Image:
    """Scapulae with a denser lateral margin, and the humeral heads, 0..1."""
    fill, edge, head = blank_layer(), blank_layer(), blank_layer()
    inner = anatomy.half_width
    drop = pose.shoulders
    for side in (-1.0, 1.0):
        outline = curve_through(
            [
                (side * (0.88 * inner), 0.19 + drop),
                (side * (0.93 * inner), 0.33 + drop),
                (side * (1.06 * inner), 0.47 + drop),
                (side * (1.17 * inner), 0.36 + drop),
                (side * (1.36 * inner), 0.22 + drop),
                (side * (1.22 * inner), 0.155 + drop),
                (side * (0.95 * inner), 0.165 + drop),
            ],
            40,
        )
        polygon(fill, outline, 1.0)
        strokes(edge, [outline[13:27]], 0.012, 1.0)
        knob = np.linspace(0, 2 * np.pi, 40)
        centre = np.array([side * (1.36 * inner + 0.05), 0.205 + drop])
        polygon(head, centre + 0.058 * np.stack([np.cos(knob), np.sin(knob)], axis=1), 1.0)
        shaft = [(centre[0], centre[1]), (centre[0] + side * 0.30, 0.34 + drop)]
        strokes(head, [curve_through(shaft, 8)], 0.062, 1.0)
    return 0.45 * unit(fill, 0.005) + 0.55 * unit(edge, 0.004) + 1.15 * unit(head, 0.006)


def skeleton_depth(anatomy: Anatomy, pose: Pose, thorax: Thorax) -> Image:
    """Optical depth of all bones on the canvas, (HEIGHT, WIDTH) float32, not negative."""
    posterior, anterior = rib_curves(anatomy, pose)
    ribs = _tubes(posterior, anatomy.rib_width)
    # Costal cartilage is lucent: anterior ribs fade out towards their medial ends.
    fade = np.clip((np.abs(columns()) / anatomy.half_width - 0.35) / 0.35, 0, 1)
    front = _tubes(anterior, 1.2 * anatomy.rib_width) * fade
    depth = RIB_DEPTH * (ribs + ANTERIOR_SHARE * front)
    depth += CLAVICLE_DEPTH * _clavicles(anatomy, pose)
    depth += SPINE_DEPTH * _spine(anatomy, pose)
    depth += SCAPULA_DEPTH * _shoulder_blades(anatomy, pose)
    # Bone lies inside the body, and behind the liver beam hardening takes much of its contrast.
    depth *= np.clip(5 * thorax.soft_tissue, 0, 1) * (1 - 0.45 * thorax.below)
    return np.maximum(anatomy.bone * depth, 0).astype(np.float32)
