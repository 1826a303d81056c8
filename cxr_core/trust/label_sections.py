"""The sections of the label audit's report."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.paired import paired_difference
from cxr_core.settings_trust import LabelAuditSettings
from cxr_core.trust.label_head import out_of_fold
from cxr_core.trust.label_noise import Noise, interval_entry
from cxr_core.trust.label_queue import KINDS
from cxr_core.trust.label_search import Found

__all__ = [
    "agreement_entry",
    "cell_entries",
    "class_entries",
    "nothing_found",
    "queue_counts",
    "side_by_side",
    "source_entries",
]

_SCORES = ("accuracy", "macro_auc", "log_loss")  # that are shown of the head with and without the suspects


def nothing_found(
    films: pd.DataFrame, names: tuple[str, ...], reason: str, predictions: pd.DataFrame | None, seed: int,
    settings: LabelAuditSettings,
) -> dict[str, Any]:  # fmt: skip
    """The report's sections where there is too little to search, each with the reason."""
    empty = unavailable(reason)
    counts = np.bincount(films["label_index"].to_numpy(np.int64), minlength=len(names))
    return {
        "judged_by": None,
        "head": {"agreement": empty},
        "overall": empty,
        "classes": {
            name: {
                "films": int(counts[place]),
                "noise": empty,
                "perfect_recall": empty,
                "model_recall": _recall(predictions, place, seed, settings.resamples),
            }
            for place, name in enumerate(names)
        },
        "joint": None,
        "sources": [],
        "cells": [],
        "without_suspects": {"reason": reason},
    }


def class_entries(
    films: pd.DataFrame, names: tuple[str, ...], found: Found, noise: Noise, predictions: pd.DataFrame | None,
    seed: int, settings: LabelAuditSettings,
) -> dict[str, Any]:  # fmt: skip
    """Each class: films, share of wrong labels, recall of a perfect classifier, the model's recall."""
    result = {}
    counts = np.bincount(films["label_index"].to_numpy(np.int64), minlength=len(names))
    for place, name in enumerate(names):
        if name in found.names:
            at = found.names.index(name)
            share, perfect = noise.share_of(at), noise.perfect_recall(at)
        else:
            reason = f"{counts[place]} films of {name}, {settings.min_films} are needed"
            share = perfect = unavailable(reason)
        result[name] = {
            "films": int(counts[place]),
            "noise": share,
            "perfect_recall": perfect,
            "model_recall": _recall(predictions, place, seed, settings.resamples),
        }
    return result


def _recall(predictions: pd.DataFrame | None, place: int, seed: int, resamples: int) -> dict[str, Any]:
    """The model's recall of a class on the test films."""
    if predictions is None:
        return unavailable("no model was audited")
    rows = predictions[(predictions["split"] == "test") & (predictions["label_index"] == place)]
    if rows.empty:
        return unavailable("no test film of it")
    right = (rows["predicted_index"] == place).to_numpy(np.float64)
    value, groups = float(right.mean()), rows["group_id"].tolist()
    if len(set(groups)) < 2:
        return available(value, films=len(rows))
    spread = np.concatenate(
        [weights @ right / weights.sum(axis=1) for weights in resample_weights(groups, seed, resamples)]
    )
    interval = percentile_interval(spread)
    if interval is None:
        return available(value, films=len(rows))
    return available(value, interval["low"], interval["high"], films=len(rows))


def agreement_entry(found: Found, groups: npt.NDArray[np.object_], seed: int, resamples: int) -> dict[str, Any]:
    """How often the judge says what the label says; it confuses films too, so not every contradiction is an error."""
    same = (found.probabilities.argmax(axis=1) == found.labels).astype(np.float64)
    spread = [weights @ same / weights.sum(axis=1) for weights in resample_weights(groups.tolist(), seed, resamples)]
    thresholds = dict(zip(found.names, found.confident.thresholds.tolist(), strict=True))
    return {
        "agreement": interval_entry(float(same.mean()), np.concatenate(spread), len(np.unique(groups))),
        "thresholds": {name: None if np.isnan(value) else value for name, value in thresholds.items()},
    }


def source_entries(found: Found, noise: Noise) -> list[dict[str, Any]]:
    """Each source and class: films, suspects, share of wrong labels."""
    suspects = found.suspects
    result = []
    for (source, label), share in noise.sources.items():
        inside = ((found.films["source"] == source) & (found.films["label_index"] == label)).to_numpy()
        result.append(
            {
                "source": source,
                "label": found.names[label],
                "films": int(inside.sum()),
                "suspects": int((inside & suspects).sum()),
                "share": share,
            }
        )
    return result


def cell_entries(found: Found, noise: Noise) -> list[dict[str, Any]]:
    """Each source, class and other class: the mixture, or why there is none."""
    systematic = {cell.key for cell in found.systematic}
    tests = sum(bool(cell.judge) for cell in found.cells)
    groups = found.films["group_id"].to_numpy(object)
    result = []
    for cell in found.cells:
        entry: dict[str, Any] = {
            "source": cell.source,
            "label": found.names[cell.label],
            "other": found.names[cell.other],
            "films": len(cell.rows),
            "is_mixture": cell.key in systematic,
            "judge": cell.judge or None,
        }
        mixture = cell.judged.mixture
        if mixture is None:
            entry.update(share=unavailable(cell.judged.reason), gain=None, p_adjusted=None, suspects=0)
        else:
            entry.update(
                share=interval_entry(mixture.share, noise.cells[cell.key], len(np.unique(groups[cell.rows]))),
                gain=mixture.gain,
                p_adjusted=min(1.0, cell.p_value * tests),
                suspects=len(cell.suspects()) if cell.key in systematic else 0,
            )
        result.append(entry)
    return result


def queue_counts(queue: pd.DataFrame) -> dict[str, int]:
    """Films of the queue, in all and of each kind."""
    kinds = queue["kind"].value_counts()
    return {"films": len(queue), **{kind: int(kinds.get(kind, 0)) for kind in KINDS}}


def side_by_side(
    found: Found, groups: npt.NDArray[np.object_], seed: int, settings: LabelAuditSettings
) -> dict[str, Any]:
    """The head with and without the suspects among its teachers, scored on the films that are no suspects."""
    suspects = found.suspects
    if not suspects.any():
        return {"reason": "there is no suspect to leave out"}
    rest = np.flatnonzero(~suspects)
    labels, classes = found.labels, len(found.names)
    if min(np.bincount(labels[rest], minlength=classes)) == 0:
        return {"reason": "a class has no film left without the suspects"}
    both = [
        out_of_fold(found.space, labels, found.fold, classes, settings.head_strength, left_out)[rest]
        for left_out in (None, suspects)
    ]
    difference = paired_difference(labels[rest], both[1], both[0], groups[rest], seed, settings.resamples, found.names)
    per_class = {name: values["recall"] for name, values in difference["per_class"].items()}
    return {
        "left_out": int(suspects.sum()),
        "films": len(rest),
        "without_minus_with": {name: difference[name] for name in _SCORES},
        "recall_without_minus_with": per_class,
    }
