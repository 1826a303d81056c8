"""The uncertainty report: do prediction sets keep their promise, and what does doubt buy when a human takes it over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.evaluation.coverage import calibration_draw, clustered_ratios, coverage_report, coverage_verdict
from cxr_core.evaluation.dropout import Head, monte_carlo
from cxr_core.evaluation.metrics import named_sources, probabilities_of
from cxr_core.evaluation.operating_points import TUBERCULOSIS
from cxr_core.evaluation.prediction_sets import PredictionSets, fit_prediction_sets
from cxr_core.evaluation.referral import Reading, flag_report, selective_report
from cxr_core.evaluation.selective import MEASURES, uncertainty_measures
from cxr_core.settings_trust import UncertaintySettings

__all__ = ["REPORT_FILE", "film_uncertainties", "sets_of", "uncertainty_report"]

REPORT_FILE = "uncertainty.json"
_ENTROPIES = ("predictive_entropy", "expected_entropy", "mutual_information")
_ABOUT = ["image_id", "label_index", "predicted_index", "source", "group_id"]


def sets_of(
    predictions: pd.DataFrame, names: Sequence[str], level: float, split: str = "calibration"
) -> PredictionSets:
    """Prediction sets fitted on one split of the predictions table, each patient group counted once.

    Args:
        predictions: the predictions table, with the uncalibrated probabilities.
        names: class names in output order.
        level: promised coverage.
        split: which rows are used; no other row is looked at.

    Raises:
        CxrError: probabilities or labels that are none.
    """
    rows = predictions[predictions["split"] == split].sort_values("image_id")
    labels, groups = rows["label_index"].to_numpy(np.int64), rows["group_id"].to_numpy(object)
    return fit_prediction_sets(probabilities_of(rows, len(names)), labels, names, level, groups)


def film_uncertainties(
    rows: pd.DataFrame,
    calibrated: npt.NDArray[np.float64],
    embeddings: npt.NDArray[np.float32],
    head: Head,
    fitted: PredictionSets,
    passes: int,
    seed: int,
) -> pd.DataFrame:
    """What is uncertain about each film.

    Args:
        rows: n rows of the predictions table, with the uncalibrated probabilities.
        calibrated: (n, k) calibrated probabilities.
        embeddings: (n, d) of the same films.
        head: of the model that made them.
        fitted: prediction sets.
        passes, seed: of Monte Carlo dropout.

    Returns:
        Columns image_id, label_index, predicted_index, source, group_id; ``answered``: calibrated probability of the
        class predicted; ``confidence``, ``entropy``, ``margin``, ``mutual_information``, ``set_size`` (uncertainties:
        larger for less certain; an empty set counts k + 1); ``predictive_entropy``, ``expected_entropy`` (nats);
        ``dropout_index``: class of the mean over the passes; ``set_0``... and ``class_set_0``...: whether each class
        is in the marginal and in the class-conditional set. Sorted by image_id.
    """
    classes = len(fitted.classes)
    plain = probabilities_of(rows, classes)
    said = plain.argmax(axis=1)
    passed = monte_carlo(embeddings, head, passes, seed)
    sets = {"set": fitted.sets(plain, conditional=False), "class_set": fitted.sets(plain, conditional=True)}
    found = rows.assign(predicted_index=said.astype(np.int64))[_ABOUT].assign(
        answered=calibrated[np.arange(len(rows)), said],
        **uncertainty_measures(calibrated, passed.mutual_information, sets["set"]),
        predictive_entropy=passed.predictive_entropy,
        expected_entropy=passed.expected_entropy,
        dropout_index=passed.probabilities.argmax(axis=1).astype(np.int64),
        **{f"{name}_{place}": held[:, place] for name, held in sets.items() for place in range(classes)},
    )
    return found.sort_values("image_id", ignore_index=True)


def uncertainty_report(
    films: pd.DataFrame,
    fitted: PredictionSets,
    settings: UncertaintySettings,
    dropout: float,
    seed: int,
    resamples: int,
    followed: str = TUBERCULOSIS,
) -> dict[str, Any]:
    """Report on the uncertainties of the test films.

    Args:
        films: what :func:`film_uncertainties` says of them.
        fitted: the prediction sets, fitted on other films.
        settings: shares that are referred, the flag.
        dropout: rate of the head.
        seed, resamples: of the bootstrap over groups.
        followed: class whose sensitivity among the kept films is reported.

    Returns:
        JSON-ready. ``prediction_sets``: ``fitted``, ``calibration_draw`` (see
        :func:`~cxr_core.evaluation.coverage.calibration_draw`), ``marginal`` and ``class_conditional`` (see
        :func:`~cxr_core.evaluation.coverage.coverage_report`). ``dropout``: ``rate``, ``passes``, films whose class it
        ``changed``, mean entropies (nats) of ``right`` and ``wrong`` films. ``selective``: see
        :func:`~cxr_core.evaluation.referral.selective_report`. ``flag``: see
        :func:`~cxr_core.evaluation.referral.flag_report`. ``verdict``: of the coverage. ``assumes``: what the promise
        rests on.

    Raises:
        CxrError: there is no film.
    """
    if films.empty:
        raise CxrError("No predictions of the test split: predict it before reporting on its uncertainty.")
    names = fitted.labels
    labels, groups = films["label_index"].to_numpy(np.int64), films["group_id"].to_numpy(object)
    sources = named_sources(films["source"]).to_numpy(object)
    kinds = {"marginal": "set", "class_conditional": "class_set"}
    coverage = {
        kind: coverage_report(
            films[[f"{column}_{place}" for place in range(len(names))]].to_numpy(bool),
            labels, groups, sources, names, seed, resamples,
        )
        for kind, column in kinds.items()
    }  # fmt: skip
    reading = Reading(labels, films["predicted_index"].to_numpy(np.int64), groups, names, followed)
    measures = {name: films[name].to_numpy(np.float64) for name in MEASURES}
    answered = films["answered"].to_numpy(np.float64)
    return {
        "notice": NOTICE,
        "seed": seed,
        "level": LEVEL,
        "resamples": resamples,
        "films": len(films),
        "groups": len(np.unique(groups.astype(str))),
        "prediction_sets": {
            "fitted": fitted.model_dump(mode="json"),
            "calibration_draw": calibration_draw(fitted.groups, fitted.level),
            **coverage,
        },
        "assumes": (
            "Calibration and new films are exchangeable as patient groups, each of which counts once whatever its "
            "films; a film from a hospital or device that the calibration films do not hold is promised nothing."
        ),
        "dropout": _dropout(films, reading, dropout, settings.passes, seed, resamples),
        "selective": selective_report(reading, measures, settings.referral_shares, seed, resamples),
        "flag": flag_report(reading, answered, settings.low_confidence, measures, seed, resamples),
        "verdict": coverage_verdict(fitted, coverage["marginal"]),
    }


def _dropout(
    films: pd.DataFrame, reading: Reading, rate: float, passes: int, seed: int, resamples: int
) -> dict[str, Any]:
    wrong = reading.wrong.astype(np.float64)
    asked = {
        (side, name): (films[name].to_numpy(np.float64) * rows, rows)
        for side, rows in (("right", 1 - wrong), ("wrong", wrong))
        for name in _ENTROPIES
    }
    means = clustered_ratios(asked, reading.groups, seed, resamples, unbounded=tuple(asked))
    return {
        "rate": rate,
        "passes": passes,
        "changed": int((films["dropout_index"] != films["predicted_index"]).sum()),
        **{side: {name: means[side, name] for name in _ENTROPIES} for side in ("right", "wrong")},
    }
