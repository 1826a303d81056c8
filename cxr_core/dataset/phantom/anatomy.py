"""What differs between patients (`Anatomy`) and between films of one patient (`Pose`).

Lengths are in film heights, angles in radians. The ranges are those of adult frontal chest films by eye and by the
usual reading rules: cardiothoracic ratio below about one half, the right dome above the left, 9 to 11 posterior ribs
above the diaphragm on a full inspiration.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Anatomy:
    """One patient's build.

    Attributes:
        half_width: Inner half width of the thorax at its widest.
        apex: `y` of the lung apices.
        dome: `y` of the right diaphragm dome at mid inspiration.
        dome_drop: How much lower the left dome lies.
        dome_fall: Fall of the diaphragm from the dome to the costophrenic angle.
        shoulder_power: Exponent of the upper lateral lung border; higher means squarer shoulders of the lung.
        heart: Cardiothoracic ratio aimed at.
        heart_level: `y` of the widest point of the left ventricle.
        knob: Lateral bulge of the aortic knob.
        mediastinum: Half width of the upper mediastinum.
        wall: Soft tissue between the ribs and the skin.
        habitus: Factor on all soft-tissue thickness.
        breast: Optical depth of breast shadows; 0 for none.
        rib_count: Posterior ribs drawn on each side.
        rib_pitch: Vertical distance between posterior ribs.
        rib_slope: Drop from the posterior to the anterior end of a rib at mid thorax.
        rib_width: Breadth of a rib.
        bone: Factor on the optical depth of bone.
        clavicle: `y` of the medial ends of the clavicles.
        clavicle_rise: How far the lateral ends lie above the medial ends.
        spine_bow: Lateral bow of the spine (scoliosis), signed.
        trachea: Lateral position of the trachea.
        vessels: Factor on the optical depth of the vessels.
        gastric_bubble: Factor on the gastric air bubble; 0 for none.
        texture_seed: Seed of everything irregular that belongs to the patient: vessels, lesions, rib irregularity.
    """

    half_width: float
    apex: float
    dome: float
    dome_drop: float
    dome_fall: float
    shoulder_power: float
    heart: float
    heart_level: float
    knob: float
    mediastinum: float
    wall: float
    habitus: float
    breast: float
    rib_count: int
    rib_pitch: float
    rib_slope: float
    rib_width: float
    bone: float
    clavicle: float
    clavicle_rise: float
    spine_bow: float
    trachea: float
    vessels: float
    gastric_bubble: float
    texture_seed: int


@dataclass(frozen=True)
class Pose:
    """How a patient stood and breathed for one film.

    Attributes:
        scale: Magnification relative to the patient frame.
        tilt: In-plane rotation.
        shift_x, shift_y: Displacement on the film.
        yaw: Displacement of the anterior (sternum, clavicles) against the posterior (spine) structures.
        inspiration: -1 (expiration) to 1 (deep inspiration).
        shoulders: Displacement of the shoulder girdle downwards.
    """

    scale: float
    tilt: float
    shift_x: float
    shift_y: float
    yaw: float
    inspiration: float
    shoulders: float


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient, independent of any class."""
    uniform = rng.uniform
    female = rng.random() < 0.5
    apex = uniform(0.115, 0.185)
    return Anatomy(
        half_width=uniform(0.275, 0.365),
        apex=apex,
        dome=uniform(0.62, 0.745),
        dome_drop=uniform(0.004, 0.045),
        dome_fall=uniform(0.06, 0.145),
        shoulder_power=uniform(1.75, 3.1),
        heart=uniform(0.36, 0.56),
        heart_level=uniform(0.575, 0.635),
        knob=uniform(0.010, 0.034),
        mediastinum=uniform(0.034, 0.052),
        wall=uniform(0.035, 0.14),
        habitus=uniform(0.85, 1.2),
        breast=uniform(0.05, 0.19) if female else 0.0,
        rib_count=int(rng.integers(10, 13)),
        rib_pitch=uniform(0.055, 0.074),
        rib_slope=uniform(0.11, 0.26),
        rib_width=uniform(0.0165, 0.0235),
        bone=uniform(0.8, 1.5),
        clavicle=apex + uniform(0.035, 0.085),
        clavicle_rise=uniform(0.02, 0.10),
        spine_bow=uniform(-0.016, 0.016),
        trachea=uniform(-0.012, 0.006),
        vessels=uniform(0.65, 1.35),
        gastric_bubble=uniform(0.4, 1.0) if rng.random() < 0.6 else 0.0,
        texture_seed=int(rng.integers(0, 2**62)),
    )


def sample_pose(rng: np.random.Generator, film: int = 0) -> Pose:
    """Draw the pose of a patient's film number `film`.

    Repeat films of one patient are centred on opposite sides and breathed differently, as repeats are when the first
    was rejected for positioning, so that no two of them are copies in the sense of the duplicate test.
    """
    angle = np.pi * film + rng.uniform(-0.6, 0.6)
    radius = rng.uniform(0.012, 0.042)
    return Pose(
        scale=rng.uniform(0.91, 1.09),
        tilt=rng.uniform(-0.065, 0.065),
        shift_x=float(radius * np.cos(angle)),
        shift_y=float(0.6 * radius * np.sin(angle) + rng.uniform(-0.02, 0.02)),
        yaw=rng.uniform(-0.026, 0.026),
        inspiration=float(np.clip((-1) ** film * rng.uniform(-0.25, 1.0), -1, 1)),
        shoulders=rng.uniform(-0.025, 0.025),
    )
