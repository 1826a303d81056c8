"""Corruptions by noise: electronics of the detector, and the dose."""

from __future__ import annotations

import numpy as np

from cxr_core.robustness.corruption_entry import RANGE, Corruption, Film, Registry

__all__ = ["FULL_DOSE", "NOISE"]

FULL_DOSE = 2500.0  # quanta of a pixel at full grey: their noise, 1 / 50, is report 5.1's clinical sigma of .02


def _gaussian_noise(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Add independent Gaussian noise with a standard deviation of ``amount`` times the full range."""
    return film + rng.standard_normal(film.shape, dtype=np.float32) * np.float32(amount * RANGE)


def _poisson_noise(film: Film, amount: float, rng: np.random.Generator) -> Film:
    """Leave ``amount`` of the quanta that made the film.

    Grey g stands for k = g / 255 * :data:`FULL_DOSE` quanta. Keeping each with chance d and dividing by d gives noise
    of variance k (1 - d) / d (thinning of a Poisson process): it grows with grey, is none at black and at d = 1. The
    draws are normal ones of that variance, the limit for many quanta: at the lowest dose a mid-grey pixel has 39.
    """
    variance = np.maximum(film, np.float32(0)) * np.float32(RANGE / FULL_DOSE * (1 - amount) / amount)
    return film + rng.standard_normal(film.shape, dtype=np.float32) * np.sqrt(variance)


NOISE: Registry = {
    "gaussian_noise": Corruption(
        act=_gaussian_noise,
        nothing=0.0,
        valid=lambda a: 0 <= a <= 1,
        demand="a share from 0 to 1",
        title="Gaussian noise",
        unit="sigma, share of the grey range",
        severities=(0.005, 0.01, 0.02, 0.04, 0.08),
        source="Report 2.4 (augmentation) at 2, report 5.1 (clinical) at 3, its double (severe) at 4, ImageNet-C's "
        "severity 1 at 5.",
    ),
    "poisson_noise": Corruption(
        act=_poisson_noise,
        nothing=1.0,
        valid=lambda a: 0 < a <= 1,
        demand="a share above 0 up to 1",
        title="Poisson noise",
        unit="share of the dose",
        severities=(1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32),
        source="The dose halved five times from 2,500 quanta a pixel at full grey (noise of .02 there, as report 5.1); "
        "5 leaves 78, ImageNet-C's shot noise begins with 60.",
    ),
}
