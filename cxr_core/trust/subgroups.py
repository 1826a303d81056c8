"""The subgroup report: where the model does worse, whether chance explains it, and what it costs (report 6.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import is_available
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.evaluation.metrics import named_sources, probabilities_of
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.subgroup_findings import gap_note, subgroup_claims, subgroup_verdict
from cxr_core.trust.subgroup_gaps import stratum_gaps, too_small
from cxr_core.trust.subgroup_scores import class_imbalance, stratum_scores
from cxr_core.trust.subgroup_strata import DIMENSIONS, Stratum, index_rows, strata_of

__all__ = ["gap_table", "subgroup_report"]

_BASIS = (
    "Predicted classes are those of largest uncalibrated probability; dividing all logits by one temperature changes "
    "none of them, so accuracies and gaps are those of the calibrated model too."
)


def subgroup_report(
    predictions: pd.DataFrame,
    index: pd.DataFrame,
    splits: pd.DataFrame,
    names: Sequence[str],
    settings: SubgroupSettings,
    seed: int,
    resamples: int,
    split: str = "test",
    crops: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge every stratum of one split.

    Args:
        predictions: the predictions table.
        index: the image index, which the strata are read from.
        splits: the splits table; tertiles are fixed on its films outside ``split``, on all where there are no others.
        names: class names in output order.
        settings: sizes, limits.
        seed, resamples: of the bootstrap over groups; the seed of the permutations too.
        split: whose films are judged.
        crops: what :func:`cxr_core.trust.crop_sensitivity.crop_sensitivity` says of the same films.

    Returns:
        JSON-ready: ``strata``, one entry each with ``dimension``, ``stratum``, ``films``, ``groups``,
        ``largest_source`` (name and share of the films), ``scores`` (see
        :func:`~cxr_core.trust.subgroup_scores.stratum_scores`; None where too small), the fields of
        :func:`~cxr_core.trust.subgroup_gaps.stratum_gaps`, and ``note``; ``not_divided``: dimensions without strata and
        why; ``class_imbalance``; ``crop_sensitivity``; ``claims`` of the report beside what is measured; ``verdict``.

    Raises:
        CxrError: no film of the split, a film that the index lacks, or probabilities that are no numbers.
    """
    rows = predictions[predictions["split"] == split].sort_values("image_id", ignore_index=True)
    if rows.empty:
        raise CxrError(f"No predictions of the {split} split: predict it before looking at subgroups.")
    probabilities = probabilities_of(rows, len(names))
    labels, groups = rows["label_index"].to_numpy(np.int64), rows["group_id"].to_numpy(object)
    predicted = probabilities.argmax(axis=1)
    others = splits.loc[splits["split"] != split, "image_id"] if len(splits) else splits["image_id"]
    films = index_rows(index, rows["image_id"])
    reference = index_rows(index, others) if len(others) else films
    strata, missing = strata_of(films.assign(source=rows["source"]), reference)
    right = (predicted == labels).astype(np.float64)
    gaps = stratum_gaps(right, labels, groups, names, strata, settings, seed, resamples)
    entries = []
    for stratum, gap in zip(strata, gaps, strict=True):
        about = _about(stratum, named_sources(rows["source"]), groups)
        small = too_small(stratum.member, np.asarray(groups, dtype=str), settings, "the stratum")
        inside = stratum.member
        scores = (
            None
            if small
            else stratum_scores(labels[inside], probabilities[inside], groups[inside], names, seed, resamples)
        )
        entry = {**about, "scores": scores, **gap}
        entries.append({**entry, "note": gap_note(entry, settings)})
    trained = splits.loc[splits["split"] == "train", "label_index"].value_counts() if len(splits) else pd.Series()
    balance = class_imbalance(
        labels,
        predicted,
        groups,
        names,
        {name: int(trained.get(place, 0)) for place, name in enumerate(names)},
        seed,
        resamples,
    )
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
        "limit": settings.max_gap,
        "titles": {dimension.name: dimension.title for dimension in DIMENSIONS},
        "reference_films": len(reference),
        "strata": entries,
        "not_divided": missing,
        "class_imbalance": balance,
        "crop_sensitivity": crops,
    }
    return {**report, "claims": subgroup_claims(report, settings), "verdict": subgroup_verdict(entries, settings)}


def gap_table(report: dict[str, Any]) -> pd.DataFrame:
    """The strata, one row each: sizes, accuracy, both gaps with interval, p, Holm's p and q, note."""
    rows = []
    for entry in report["strata"]:
        row = {key: entry[key] for key in ("dimension", "stratum", "films", "groups")}
        row["accuracy"] = entry["scores"]["accuracy"]["value"] if entry["scores"] else None
        for kind in ("gap", "standardised_gap"):
            gap = entry[kind]
            row.update({f"{kind}{'_' + key if key != 'value' else ''}": gap[key] for key in _SHOWN})
        row["note"] = entry["note"] or (
            "" if is_available(entry["standardised_gap"]) else f"not available: {entry['standardised_gap']['reason']}"
        )
        rows.append(row)
    return pd.DataFrame(rows)


_SHOWN = ("value", "low", "high", "p", "holm", "q")


def _about(stratum: Stratum, sources: pd.Series, groups: npt.NDArray[np.object_]) -> dict[str, Any]:
    counts = sources[stratum.member].value_counts()
    commonest = min(counts.index, key=lambda name: (-counts[name], name))
    films = int(stratum.member.sum())
    return {
        "dimension": stratum.dimension,
        "stratum": stratum.name,
        "films": films,
        "groups": len(set(groups[stratum.member].tolist())),
        "largest_source": {"name": commonest, "share": float(counts[commonest] / films)},
    }
