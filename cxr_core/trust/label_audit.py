"""The label audit: how many labels are wrong, where, what that does to every recall, and what to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.settings_trust import LabelAuditSettings
from cxr_core.trust.label_noise import estimate_noise
from cxr_core.trust.label_queue import KINDS, contradictions, relabel_queue
from cxr_core.trust.label_search import Found, NothingToAudit, search
from cxr_core.trust.label_sections import (
    agreement_entry,
    cell_entries,
    class_entries,
    nothing_found,
    queue_counts,
    side_by_side,
    source_entries,
)
from cxr_core.trust.label_space import RegionFeatures
from cxr_core.trust.label_verdict import noise_verdict

__all__ = ["REPORT_FILE", "LabelAudit", "audit_labels", "audited_films"]

REPORT_FILE = "label_audit.json"


@dataclass(frozen=True)
class LabelAudit:
    """What the audit says.

    Attributes:
        report: JSON-ready.
        queue: the relabel queue.
        films: one row an audited film: image_id, label, suggested, self_confidence, margin, suspect (a
            kind of the queue, or empty), source.
    """

    report: dict[str, Any]
    queue: pd.DataFrame
    films: pd.DataFrame


def audited_films(films: pd.DataFrame, settings: LabelAuditSettings, seed: int) -> pd.DataFrame:
    """The films that are audited: all, or whole patient groups drawn until there are ``max_films``; by image_id.

    Args:
        films: columns image_id, group_id and others.
        settings: ``max_films``.
        seed: of the draw.
    """
    ordered = films.sort_values("image_id", ignore_index=True)
    if len(ordered) <= settings.max_films:
        return ordered
    sizes = ordered.groupby("group_id").size().sort_index()
    drawn = sizes.iloc[np.random.default_rng(seed).permutation(len(sizes))]
    chosen = drawn.index[drawn.cumsum() <= settings.max_films]
    return ordered[ordered["group_id"].isin(chosen)].reset_index(drop=True)


def audit_labels(
    films: pd.DataFrame,
    features: RegionFeatures,
    index: pd.DataFrame,
    names: tuple[str, ...],
    settings: LabelAuditSettings,
    seed: int,
    predictions: pd.DataFrame | None = None,
    given: pd.DataFrame | None = None,
) -> LabelAudit:
    """Audit the labels of a data set.

    Args:
        films: n films: image_id, sha256, label_index, source, group_id.
        features: of the same films in the same order, from a network that saw none of their labels.
        index: the image index; its contradictions are queued, and films that readers labelled are no suspects.
        names: class names in output order.
        settings: of the audit.
        seed: of folds, projections, bootstrap.
        predictions: the predictions table, for the model's recall on the test films; None where there is no model.
        given: out-of-fold probabilities of a full cross-validation instead of the head's, image_id and p_0 ...; the
            head still shows the run without the suspects.

    Returns:
        ``report``: ``films``, ``groups``; ``head`` (how it agrees with the labels); ``overall`` share of wrong labels;
        ``classes`` (films, share of wrong labels, recall of a perfect classifier, the model's recall); ``joint``;
        ``sources`` (share in each source and class); ``cells`` (the mixtures); ``contradictions``; ``queue``;
        ``without_suspects``; ``verdict``. Every number with ``value``, ``low``, ``high``, or a ``reason``.
    """
    settled = _settled(films, index)
    doubles = contradictions(index)
    report: dict[str, Any] = {
        "notice": NOTICE,
        "films": len(films),
        "groups": int(films["group_id"].nunique()),
        "seed": seed,
        "settled_by_readers": int(settled.sum()),
        "contradictions": {
            "contents": len(doubles),
            "files": int((index["reason_code"] == "contradictory_label").sum()),
        },
    }
    try:
        found = search(films, features.values, features.widths, names, settings, seed, settled, given)
    except NothingToAudit as reason:
        report.update(nothing_found(films, names, str(reason), predictions, seed, settings))
        queue = relabel_queue(None, films.set_index("image_id")["sha256"], doubles)
        report["queue"] = queue_counts(queue)
        report["verdict"] = noise_verdict(report, settings)
        return LabelAudit(report, queue, _film_table(None))
    groups = found.films["group_id"].to_numpy(object)
    sources = found.films["source"].to_numpy(object)
    noise = estimate_noise(
        found.labels, found.probabilities, sources, groups, found.cells, found.systematic, found.taught,
        found.counted, seed, settings.resamples,
    )  # fmt: skip
    queue = relabel_queue(found, films.set_index("image_id")["sha256"], doubles)
    report.update(
        {
            "judged_by": "the cross-validated model" if found.given else "a logistic head on pretrained features",
            "head": agreement_entry(found, groups, seed, settings.resamples),
            "overall": noise.overall(),
            "classes": class_entries(films, names, found, noise, predictions, seed, settings),
            "joint": {"labels": list(found.names), "films": noise.joint.tolist()},
            "sources": source_entries(found, noise),
            "cells": cell_entries(found, noise),
            "queue": queue_counts(queue),
            "without_suspects": side_by_side(found, groups, seed, settings),
        }
    )
    report["verdict"] = noise_verdict(report, settings)
    return LabelAudit(report, queue, _film_table(found))


def _settled(films: pd.DataFrame, index: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if "label_source" not in index:
        return np.zeros(len(films), bool)
    read = index.loc[index["label_source"] == "review", "sha256"]
    return films["sha256"].isin(read).to_numpy()


def _film_table(found: Found | None) -> pd.DataFrame:
    if found is None:
        columns: Mapping[str, Any] = {
            "image_id": str, "label": str, "suggested": str, "self_confidence": float, "margin": float, "suspect": str,
            "source": str,
        }  # fmt: skip
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    return pd.DataFrame(
        {
            "image_id": found.films["image_id"],
            "label": [found.names[place] for place in found.labels],
            "suggested": [found.names[place] for place in found.confident.suggested],
            "self_confidence": found.confident.self_confidence,
            "margin": found.confident.margin,
            "suspect": np.select([found.by_system, found.suspects], KINDS[1:], ""),
            "source": found.films["source"],
        }
    )
