"""How far confidence can be taken at its word: calibration error with interval and null, Brier score, log loss.

The error is never zero on finite samples, and the fewer the films, the larger it is by chance alone: a number without
its null says nothing (TRAPS 11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES, percentile_interval, resample_weights
from cxr_core.evaluation.reliability import reliability_rows

__all__ = [
    "BINS",
    "ERROR",
    "bin_members",
    "calibration_report",
    "calibration_scores",
    "equal_mass_bins",
    "null_errors",
    "null_said",
]

Floats = npt.NDArray[np.float64]

ERROR = "expected_calibration_error"
BINS = 15  # Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2
_NULL_STREAM = 1  # the null draws from a stream of its own beside the bootstrap's
_BLOCK = 1 << 22  # numbers held at once: 4 million float64 are 32 MiB
_SMALLEST = float(np.finfo(np.float64).eps)  # probability at which log loss is cut, as in the other scores


def calibration_report(
    labels: npt.NDArray[np.integer],
    probabilities: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
    bins: int = BINS,
) -> dict[str, Any]:
    """Calibration of the top class.

    Expected calibration error: mean over the films of the distance between confidence and accuracy of their bin (Naeini
    et al., AAAI 2015), in bins of equal mass, which bias it less than bins of equal width (Nixon et al., CVPR
    workshops 2019). The interval is a percentile bootstrap over whole groups with the bins kept; resampling adds noise
    to each bin, so it lies high, as the error itself does. The null is the error of a perfectly calibrated model with
    the same confidences, by simulation; it takes films as independent, so films of one patient make it too narrow.
    Brier score: sum over the classes of the squared error, mean over the films, 0-2 (Brier, Monthly Weather Review
    1950). Log loss in nats.

    Args:
        labels: (n,) class indices, n >= 1.
        probabilities: (n, k), rows summing to 1.
        groups: n group names; films of one group are drawn together.
        seed: of the bootstrap and of the null.
        resamples: of the bootstrap, and simulations of the null.
        bins: at most; films of equal confidence share one.

    Returns:
        JSON-ready: ``expected_calibration_error``, ``brier``, ``log_loss``, each ``value``, ``low``, ``high`` (the
        interval None where there are fewer than two groups or the resamples do not differ); ``null`` with ``mean``,
        ``high`` (95 % of the simulations lie below) and ``p_value`` (share of simulations that reach the value, the
        value itself counted: Davison and Hinkley, Bootstrap Methods, 1997, section 4.2); ``reliability``, one row a
        bin, see :func:`~cxr_core.evaluation.reliability.reliability_rows`; ``n``, ``groups``, ``bins``, ``level``,
        ``resamples``.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    members = bin_members(confidence, bins)
    scores = calibration_scores(labels, probabilities, bins)
    count = len(np.unique(np.asarray(groups, dtype=str)))
    blocks = [scores(weights) for weights in resample_weights(groups, seed, resamples)] if count > 1 else []
    report: dict[str, Any] = {}
    for name, value in scores(np.ones((1, len(labels)))).items():
        interval = percentile_interval(np.concatenate([block[name] for block in blocks])) if blocks else None
        report[name] = {"value": float(value[0]), **(interval or {"low": None, "high": None})}
    null = null_errors(confidence, members, seed, resamples)
    return {
        **report,
        "null": null_said(null, report[ERROR]["value"]),
        "reliability": reliability_rows(confidence, right, members),
        "n": len(labels),
        "groups": count,
        "bins": int(members.shape[1]),
        "level": LEVEL,
        "resamples": resamples,
    }


def calibration_scores(
    labels: npt.NDArray[np.integer], probabilities: npt.NDArray[np.floating], bins: int = BINS
) -> Callable[[Floats], dict[str, Floats]]:
    """Function from weights (b, n) of the films to expected calibration error, Brier score and log loss, (b,) each."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    gap = (right - confidence)[:, None] * bin_members(confidence, bins)
    per_film = {
        "brier": (probabilities.astype(np.float64) ** 2).sum(axis=1) - 2 * chosen + 1,
        "log_loss": -np.log(np.maximum(chosen, _SMALLEST)),
    }

    def scores(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        means = {name: weights @ values / total for name, values in per_film.items()}
        return {ERROR: np.abs(weights @ gap).sum(axis=1) / total, **means}

    return scores


def null_said(null: Floats, error: float) -> dict[str, float]:
    """What a report says of the errors (simulations,) of a calibrated model, beside the error found."""
    return {
        "mean": float(null.mean()),
        "high": float(np.quantile(null, LEVEL)),
        "p_value": float((1 + (null >= error).sum()) / (1 + len(null))),
    }


def bin_members(confidence: Floats, bins: int = BINS) -> Floats:
    """(n, bins that hold a film) 1 where a film is in a bin, 0 elsewhere."""
    members = np.eye(bins)[equal_mass_bins(confidence, bins)]
    return members[:, members.any(axis=0)]


def equal_mass_bins(confidence: Floats, bins: int = BINS) -> npt.NDArray[np.intp]:
    """Bin of each film, 0 to ``bins`` - 1, by rank: sizes differ by one at most where no confidences are equal.

    Films of equal confidence share the bin of the first of them, so that no order of the films decides.
    """
    first = np.searchsorted(np.sort(confidence), confidence, side="left")
    return first * bins // max(1, len(confidence))


def null_errors(confidence: Floats, members: Floats, seed: int, simulations: int) -> Floats:
    """Errors that a perfectly calibrated model would show: each film is right with the probability it claims.

    Args:
        confidence: (n,) probability of the top class.
        members: (n, bins) 1 where a film is in a bin, 0 elsewhere.
        seed: of the simulations.
        simulations: their number.

    Returns:
        (simulations,) expected calibration errors.
    """
    rng = np.random.default_rng([seed, _NULL_STREAM])
    step = max(1, _BLOCK // len(confidence))
    errors: list[Floats] = []
    for start in range(0, simulations, step):
        right = rng.random((min(step, simulations - start), len(confidence))) < confidence
        errors.append(np.abs((right - confidence) @ members).sum(axis=1) / len(confidence))
    return np.concatenate(errors)
