"""The learning rate: one cosine over the steps really planned (report 3.2; TRAPS 6)."""

from __future__ import annotations

import math

__all__ = ["cosine_rate"]


def cosine_rate(step: int, steps: int, peak: float, floor: float) -> float:
    """Cosine annealing without restarts (Loshchilov & Hutter 2017, equation 5), per optimiser step.

    The plan spans all epochs, those with a frozen backbone too: the head learns in them. It runs from ``peak`` at the
    first step to ``floor`` at the last, and has no state: a step's rate follows from its number alone.

    Args:
        step: 0 <= step < steps.
        steps: steps of the whole plan, >= 1.
        peak: first rate.
        floor: last rate (``eta_min``); no rate is below it, unless ``peak`` is.
    """
    share = step / max(1, steps - 1)
    floor = min(floor, peak)
    return floor + (peak - floor) * (1 + math.cos(math.pi * share)) / 2
