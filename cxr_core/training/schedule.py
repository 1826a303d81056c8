"""The learning rate: one cosine over the steps really planned (report 3.2; TRAPS 6)."""

from __future__ import annotations

import math

__all__ = ["cosine_rate"]


def cosine_rate(step: int, steps: int, peak: float, floor: float, warmup: int = 0) -> float:
    """Cosine annealing without restarts (Loshchilov & Hutter 2017, equation 5), per optimiser step.

    The plan spans all epochs, those with a frozen backbone too: the head learns in them. It runs from ``peak`` at the
    first step to ``floor`` at the last, and has no state: a step's rate follows from its number alone.

    Args:
        step: 0 <= step < steps.
        steps: steps of the whole plan, >= 1.
        peak: highest rate.
        floor: last rate (``eta_min``); no rate of the cosine is below it, unless ``peak`` is.
        warmup: first steps in which the rate rises in equal parts to ``peak`` (Goyal et al. 2017, section 2.2).
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(1, steps - warmup - 1)
    floor = min(floor, peak)
    return floor + (peak - floor) * (1 + math.cos(math.pi * share)) / 2
