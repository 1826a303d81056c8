"""Vector scaling: a factor and an offset for each class's logit, fitted by least log loss.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2. It has two numbers a class where
temperature scaling has one in all, and may change which class is largest. It is measured beside the temperature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cxr_core.evaluation.probabilities import softmax
from cxr_core.evaluation.temperature import MIN_FILMS, finite_logits, mean_log_loss

__all__ = ["LARGEST", "VectorScaling", "fit_vector_scaling"]

Floats = npt.NDArray[np.float64]

LARGEST = 20.0  # a factor or offset beyond it is no fit: the films are separated, or too few
_RIDGE = 1e-9  # a film: takes away that equal offsets of all classes change nothing, and nothing else
_STEPS = 100  # of Newton's method, which needs about ten
_CLOSE = 1e-10  # decrease promised by the next step, nats a film, at which the search ends


class VectorScaling(BaseModel):
    """Fitted factors and offsets.

    Attributes:
        weights, biases: k numbers each; logit k becomes weights[k] * logit + biases[k].
        fitted: whether films decided them; else weights 1, biases 0.
        reason: why nothing was fitted; empty otherwise.
        films, groups: that they were fitted on.
        log_loss_before, log_loss_after: on those films, nats; None without films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: tuple[float, ...]
    biases: tuple[float, ...]
    fitted: bool = True
    reason: str = ""
    films: int = Field(ge=0)
    groups: int = Field(ge=0)
    log_loss_before: float | None = None
    log_loss_after: float | None = None

    def probabilities(self, logits: npt.NDArray[np.floating]) -> Floats:
        """Calibrated probabilities (n, k) float64 of logits (n, k)."""
        return softmax(np.asarray(logits, np.float64) * np.array(self.weights) + np.array(self.biases))


def fit_vector_scaling(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    groups: Sequence[str] | npt.NDArray[np.object_] | None = None,
    min_films: int = MIN_FILMS,
) -> VectorScaling:
    """Factors and offsets of least mean log loss, by Newton's method with backtracking: the loss is convex in them.

    Args:
        logits: (n, k), finite.
        labels: (n,) class indices, 0 to k - 1.
        groups: n group names, counted only.
        min_films: a parameter needs half as many: below ``min_films`` x k nothing is fitted.

    Returns:
        The scaling; the identity with the reason where the films cannot decide it.

    Raises:
        CxrError: as :func:`~cxr_core.evaluation.temperature.fit_temperature`.
    """
    values = finite_logits(logits, labels)
    n, classes = values.shape
    count = n if groups is None else len(np.unique(np.asarray(groups, dtype=str)))
    about = {"films": n, "groups": count}
    before = mean_log_loss(values, labels) if n else None
    counts = np.bincount(labels, minlength=classes)
    reason = ""
    if n < min_films * classes:
        reason = f"{n} films to calibrate on; {min_films * classes} or more are needed for {2 * classes} numbers"
    elif not counts.all():
        reason = f"class {int(np.flatnonzero(counts == 0)[0])} has no film to calibrate on"
    else:
        weights, biases = _newton(values, labels)
        scaled = values * weights + biases
        if max(np.abs(weights).max(), np.abs(biases).max()) > LARGEST:
            reason = f"no factors and offsets below {LARGEST:g} fit best"
        elif (scaled.argmax(axis=1) == labels).all():  # Albert and Anderson, Biometrika 1984
            reason = "factors and offsets tell these films apart without an error, so no finite ones fit best"
        else:
            return VectorScaling(
                weights=tuple(weights.tolist()),
                biases=tuple(biases.tolist()),
                log_loss_before=before,
                log_loss_after=mean_log_loss(scaled, labels),
                **about,
            )
    return VectorScaling(
        weights=(1.0,) * classes,
        biases=(0.0,) * classes,
        fitted=False,
        reason=reason,
        log_loss_before=before,
        log_loss_after=before,
        **about,
    )


def _newton(logits: Floats, labels: npt.NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Weights and biases (their sum 0) of least log loss; where there are none, the place where the search stopped."""
    n, classes = logits.shape
    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    true = np.eye(classes)[labels]
    place = start.copy()

    def loss(at: Floats) -> float:
        scaled = logits * at[:classes] + at[classes:]
        return mean_log_loss(scaled, labels) + _RIDGE / 2 * float((at - start) @ (at - start))

    for _ in range(_STEPS):
        said = softmax(logits * place[:classes] + place[classes:])
        over = (said - true) / n
        gradient = np.concatenate([(over * logits).sum(axis=0), over.sum(axis=0)]) + _RIDGE * (place - start)
        inner = np.einsum("nc,cd->ncd", said, np.eye(classes)) - np.einsum("nc,nd->ncd", said, said)
        both = np.stack([logits, np.ones_like(logits)])
        curved = np.einsum("anc,ncd,bnd->acbd", both, inner, both, optimize=True) / n
        hessian = curved.reshape(2 * classes, 2 * classes) + _RIDGE * np.eye(2 * classes)
        step = np.linalg.solve(hessian, gradient)
        promised = float(gradient @ step)
        if promised <= _CLOSE * _CLOSE:
            break
        here, length = loss(place), 1.0
        while loss(place - length * step) > here - 1e-4 * length * promised and length > 1e-10:  # Armijo 1966
            length /= 2
        place = place - length * step
        if np.abs(place).max() > 2 * LARGEST or length <= 1e-10:  # beyond the bounds, or no decrease is left to see
            break
    return place[:classes], place[classes:] - place[classes:].mean()
