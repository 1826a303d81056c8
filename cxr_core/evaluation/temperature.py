"""Temperature scaling: one number that brings the confidence of a model down, or up, to its accuracy.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2: logits divided by a temperature T > 0
before the softmax, fitted by least log loss on films that trained nothing. The class of largest probability stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.probabilities import softmax

__all__ = [
    "COLDEST",
    "HOTTEST",
    "MIN_FILMS",
    "RESAMPLES",
    "TemperatureScaling",
    "finite_logits",
    "fit_temperature",
    "mean_log_loss",
]

Floats = npt.NDArray[np.float64]

MIN_FILMS = 30  # fewer fit nothing: ten wrong answers a parameter (Peduzzi et al., J Clin Epidemiol 1996) at 1 in 3
COLDEST = 0.05  # bounds of the search: networks need temperatures near 1 to 3, and beyond a factor of 20
HOTTEST = 20.0  # probabilities are all 0 and 1, or all alike
RESAMPLES = 200  # of the interval; each is a fit of its own
_STEPS = 60  # of a search: halving alone takes the bounds below 1e-15
_CLOSE = 1e-13  # relative change of 1 / T at which the search ends
_SMALLEST = float(np.finfo(np.float64).tiny)


class TemperatureScaling(BaseModel):
    """A fitted temperature.

    Attributes:
        temperature: > 0; the logits are divided by it. 1 where nothing was fitted.
        low, high: ends of its 95 % bootstrap interval over groups; None where there is none.
        fitted: whether the films decided it.
        reason: why nothing was fitted, or why the temperature lies at a bound; empty otherwise.
        films, groups: that it was fitted on.
        missing: names or indices of classes without a film among them.
        log_loss_before, log_loss_after: on those films, nats; None without films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(gt=0, allow_inf_nan=False)
    low: float | None = None
    high: float | None = None
    fitted: bool = True
    reason: str = ""
    films: int = Field(ge=0)
    groups: int = Field(ge=0)
    missing: tuple[int, ...] = ()
    log_loss_before: float | None = None
    log_loss_after: float | None = None

    def probabilities(self, logits: npt.NDArray[np.floating]) -> Floats:
        """Calibrated probabilities.

        Args:
            logits: (n, k), finite.

        Returns:
            (n, k) float64, rows summing to 1.
        """
        return softmax(np.asarray(logits, np.float64) / self.temperature)


def fit_temperature(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    groups: Sequence[str] | npt.NDArray[np.object_] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    min_films: int = MIN_FILMS,
) -> TemperatureScaling:
    """Temperature of least mean log loss, between :data:`COLDEST` and :data:`HOTTEST`.

    The log loss is convex in 1 / T, so there is one minimum; it is found where the derivative changes sign, by Newton
    steps that halve the bounds where they would leave them. Films without an error have no minimum: colder is always
    better. Then the temperature goes down no further than to a mean confidence of (n + 1) / (n + 2), which is all
    that n right answers support (rule of succession; Platt, Advances in Large Margin Classifiers, 1999, section 2.2).

    Args:
        logits: (n, k), finite.
        labels: (n,) class indices, 0 to k - 1.
        groups: n group names; films of one group are drawn together. None: every film is a group.
        seed, resamples: of the interval of the temperature.
        min_films: below it nothing is fitted.

    Returns:
        The scaling; temperature 1 with the reason where the films cannot decide it.

    Raises:
        CxrError: shapes that do not match, labels out of range, or logits that are not finite.
    """
    values = finite_logits(logits, labels)
    n, classes = values.shape
    names = np.arange(n).astype(str) if groups is None else np.asarray(groups, dtype=str)
    count = len(np.unique(names))
    present = np.unique(labels)
    about = {"films": n, "groups": count, "missing": tuple(k for k in range(classes) if k not in present)}
    before = mean_log_loss(values, labels) if n else None
    if reason := _unfit(values, present, min_films):
        return TemperatureScaling(
            temperature=1.0, fitted=False, reason=reason, log_loss_before=before, log_loss_after=before, **about
        )
    films = _Films(values, labels)
    temperature = 1 / films.best(np.ones(n), start=1.0)
    interval = None
    if count > 1:
        blocks = resample_weights(names, seed, resamples)
        drawn = [1 / films.best(weights, start=1 / temperature) for block in blocks for weights in block]
        interval = percentile_interval(np.array(drawn))
    return TemperatureScaling(
        temperature=temperature,
        **(interval or {}),
        reason=films.at_bound(temperature),
        log_loss_before=before,
        log_loss_after=mean_log_loss(values / temperature, labels),
        **about,
    )


def mean_log_loss(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """Mean log loss in nats of softmax probabilities of logits (n, k); exact where a probability would round to 0."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())


def finite_logits(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> Floats:
    """Logits (n, k) as float64, seen to be finite and to fit the labels.

    Raises:
        CxrError: they are not, or do not.
    """
    values = np.asarray(logits, np.float64)
    if values.ndim != 2 or len(values) != len(labels):
        raise CxrError(f"Logits of shape {values.shape} do not fit {len(labels)} labels: predict again.")
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])
        raise CxrError(f"Column l_{column} holds values that are no numbers: materialise predictions again.")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < values.shape[1]):
        raise CxrError(
            f"Labels run from {labels.min()} to {labels.max()} but there are {values.shape[1]} logits: "
            "check label_index."
        )
    return values


class _Films:
    """Log loss of films as a function of 1 / T."""

    def __init__(self, logits: Floats, labels: npt.NDArray[np.integer]) -> None:
        self._logits = logits - logits.max(axis=1, keepdims=True)
        self._chosen = self._logits[np.arange(len(labels)), labels]
        self._sharpest = self._succession()

    def best(self, weights: Floats, start: float) -> float:
        """1 / T of least weighted log loss within the bounds, searched from ``start``."""
        kept = weights > 0
        logits, chosen, weights = self._logits[kept], self._chosen[kept], weights[kept]
        low, high = 1 / HOTTEST, 1 / COLDEST
        if _slopes(logits, chosen, weights, low)[0] >= 0:
            return low
        if _slopes(logits, chosen, weights, high)[0] <= 0:
            return self._sharpest
        inverse = min(max(start, low), high)
        for _ in range(_STEPS):
            slope, curvature = _slopes(logits, chosen, weights, inverse)
            low, high = (inverse, high) if slope < 0 else (low, inverse)
            step = inverse - slope / max(curvature, _SMALLEST)
            following = step if low < step < high else (low + high) / 2
            if abs(following - inverse) <= _CLOSE * inverse:
                return following
            inverse = following
        return inverse

    def at_bound(self, temperature: float) -> str:
        """Why the temperature could not go further; empty where it did not want to."""
        n = len(self._logits)
        if temperature >= HOTTEST:
            return f"bounded at {HOTTEST:g}: on these {n} films the logits tell the class no better than chance"
        if _slopes(self._logits, self._chosen, np.ones(n), 1 / COLDEST)[0] > 0:
            return ""
        errors = int((self._chosen < 0).sum())
        return (
            f"bounded at {temperature:.3g}: with {errors} errors in {n} films colder is always better, and they "
            f"support a mean confidence of {n + 1}/{n + 2} at most"
        )

    def _succession(self) -> float:
        """1 / T, from 1 to the bound, at which the mean confidence is (n + 1) / (n + 2)."""
        n = len(self._logits)
        low, high = 1.0, 1 / COLDEST
        for _ in range(_STEPS):
            middle = (low + high) / 2
            confidence = float((1 / np.exp(self._logits * middle).sum(axis=1)).mean())
            low, high = (middle, high) if confidence < (n + 1) / (n + 2) else (low, middle)
        return low


def _slopes(logits: Floats, chosen: Floats, weights: Floats, inverse: float) -> tuple[float, float]:
    """First and second derivative of the weighted sum of log losses by 1 / T: mean minus chosen logit, variance."""
    powers = np.exp(logits * inverse)
    powers /= powers.sum(axis=1, keepdims=True)
    mean = (powers * logits).sum(axis=1)
    variance = (powers * logits**2).sum(axis=1) - mean**2
    return float(weights @ (mean - chosen)), float(weights @ variance)


def _unfit(logits: Floats, present: npt.NDArray[np.integer], min_films: int) -> str:
    if len(logits) < min_films:
        return f"{len(logits)} films to calibrate on; {min_films} or more are needed"
    if len(present) < 2:
        return "all films to calibrate on are of one class"
    if (np.ptp(logits, axis=1) == 0).all():
        return "the logits of every film are equal"
    return ""
