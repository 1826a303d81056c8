"""The failure report: which errors, how many, on which films, and what those films have in common (report 6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.evaluation.metrics import classification_metrics, probabilities_of
from cxr_core.evaluation.report import failure_counts
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.failure_association import NUMBERS, associations, covariates_of
from cxr_core.trust.failure_findings import association_sentences, failure_claims
from cxr_core.trust.failure_pairs import bias, class_failures, confusion_pairs, lead_of_diseases
from cxr_core.trust.subgroup_strata import index_rows

__all__ = ["failure_report", "worst_films"]

_BASIS = (
    "Predicted classes are those of largest uncalibrated probability; dividing all logits by one temperature changes "
    "none of them. Confidences are uncalibrated; films are ranked by the logarithm of the ratio of the predicted "
    "class's probability to the true one's, whose order no temperature changes."
)


def failure_report(
    predictions: pd.DataFrame,
    index: pd.DataFrame,
    names: Sequence[str],
    settings: SubgroupSettings,
    seed: int,
    resamples: int,
    split: str = "test",
    normal: str = "Normal",
) -> dict[str, Any]:
    """Count, list and explain the errors of one split.

    Args:
        predictions: the predictions table.
        index: the image index: quality numbers and flags.
        names: class names in output order.
        settings: sizes, permutations, films in the list.
        seed, resamples: of bootstrap and permutations over groups.
        split: whose films are judged.
        normal: name of the class without disease.

    Returns:
        JSON-ready: ``counts`` (see :func:`~cxr_core.evaluation.report.failure_counts`), ``false_positives`` and
        ``false_negatives`` (shares of normal and of diseased films) and ``bias`` (the first minus the second),
        ``per_class``, ``pairs`` (see :mod:`cxr_core.trust.failure_pairs`), ``worst`` (see :func:`worst_films`),
        ``associations`` (see :func:`~cxr_core.trust.failure_association.associations`), ``sentences`` on them,
        ``claims`` of the report beside what is measured.

    Raises:
        CxrError: no film of the split, a film that the index lacks, or probabilities that are no numbers.
    """
    rows = predictions[predictions["split"] == split].sort_values("image_id", ignore_index=True)
    if rows.empty:
        raise CxrError(f"No predictions of the {split} split: predict it before looking at failures.")
    probabilities = probabilities_of(rows, len(names))
    labels, groups = rows["label_index"].to_numpy(np.int64), rows["group_id"].to_numpy(object)
    predicted = probabilities.argmax(axis=1)
    films = index_rows(index, rows["image_id"]).assign(source=rows["source"])
    outcomes = _outcomes(labels, predicted, names, normal)
    found = associations(outcomes, covariates_of(films), labels, groups, settings, seed, resamples)
    kinds: dict[str, Any] = {
        name: unavailable(f"no class is called {normal}") for name in ("false_positives", "false_negatives", "bias")
    }
    if normal in names:
        kinds = bias(labels, predicted, groups, list(names).index(normal), seed, resamples)
    report = {
        "notice": NOTICE,
        "basis": _BASIS,
        "split": split,
        "n": len(rows),
        "groups": len(set(groups.tolist())),
        "seed": seed,
        "resamples": resamples,
        "permutations": settings.permutations,
        "level": LEVEL,
        "alpha": settings.alpha,
        "counts": failure_counts(classification_metrics(labels, probabilities, names), normal),
        **kinds,
        "per_class": class_failures(labels, predicted, groups, names),
        "pairs": confusion_pairs(labels, predicted, groups, names),
        "between_diseases_lead": lead_of_diseases(labels, predicted, groups, names, normal, seed, resamples),
        "worst": worst_films(rows, films, probabilities, names, settings.worst_films),
        "associations": found,
    }
    return {
        **report,
        "sentences": association_sentences(found, settings.alpha),
        "claims": failure_claims(report, settings.alpha),
    }


def worst_films(
    rows: pd.DataFrame, films: pd.DataFrame, probabilities: npt.NDArray[np.float64], names: Sequence[str], most: int
) -> list[dict[str, Any]]:
    """The most confidently wrong films, worst first, ties by image_id.

    Args:
        rows: of the predictions table.
        films: their rows of the image index, in the same order.
        probabilities: (n, k) of them.
        names: class names.
        most: how many.

    Returns:
        For each film ``image_id``, ``sha256``, ``label``, ``predicted``, ``confidence`` and ``label_probability``
        (uncalibrated, 0-1), ``margin`` (logarithm of their ratio, nats), ``flags``, ``source``, and the quality
        numbers.
    """
    labels, predicted = rows["label_index"].to_numpy(np.int64), probabilities.argmax(axis=1)
    every = np.arange(len(rows))
    smallest = np.finfo(np.float64).tiny  # a softmax can underflow to 0
    logs = np.log(np.maximum(probabilities, smallest))
    margin = logs[every, predicted] - logs[every, labels]
    wrong = np.flatnonzero(predicted != labels)
    ids = rows["image_id"].to_numpy(object)
    order = sorted(wrong.tolist(), key=lambda row: (-margin[row], ids[row]))[:most]
    sides = films[["width", "height"]].astype("Float64")
    numbers = films.assign(longest_side=sides.max(axis=1), aspect=sides["width"] / sides["height"])[list(NUMBERS)]
    return [
        {
            "image_id": str(ids[row]),
            "sha256": str(films["sha256"].iloc[row]),
            "label": names[labels[row]],
            "predicted": names[predicted[row]],
            "confidence": float(probabilities[row, predicted[row]]),
            "label_probability": float(probabilities[row, labels[row]]),
            "margin": float(margin[row]),
            "flags": str(films["flags"].fillna("").iloc[row]),
            "source": str(rows["source"].fillna("").iloc[row]) or "unknown",
            **{name: None if pd.isna(numbers[name].iloc[row]) else float(numbers[name].iloc[row]) for name in NUMBERS},
        }
        for row in order
    ]


def _outcomes(
    labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.intp], names: Sequence[str], normal: str
) -> dict[str, tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Kinds of error: films that may have it, films that have it."""
    wrong = predicted != labels
    found = {"error": (np.ones(len(labels), bool), wrong)}
    if normal in names:
        place = list(names).index(normal)
        healthy = labels == place
        found["false_positive"] = (healthy, wrong & healthy)
        found["false_negative"] = (~healthy, ~healthy & (predicted == place))
    return found
