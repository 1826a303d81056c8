"""The source of a film: how closely it goes with the label, and whether an embedding gives it away (TRAPS 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.settings_trust import ShortcutSettings
from cxr_core.trust.shortcut_association import association, contingency
from cxr_core.trust.shortcut_model import Films, scored
from cxr_core.trust.shortcut_probes import Probe, permutation_p_value, permuted_rows

__all__ = ["UNKNOWN", "label_by_source", "null_said", "predicted_source"]

Floats = npt.NDArray[np.float64]

UNKNOWN = "unknown"  # what named_sources calls a film without a source


def label_by_source(films: Films, names: Sequence[str], settings: ShortcutSettings) -> dict[str, Any]:
    """Films of each label and source, and how closely the two go together.

    Returns:
        ``sources``, ``labels``, ``table`` (sources in rows), and ``cramers_v`` with its null, see
        :func:`~cxr_core.trust.shortcut_association.association`.
    """
    sources = sorted(set(films.sources.tolist()))
    codes = np.searchsorted(np.array(sources, dtype=str), films.sources.astype(str))
    table = contingency(codes, films.labels, (len(sources), len(names)))
    reason = _one_source(sources) or "all films have one label"
    found = association(
        films.labels,
        codes,
        (len(names), len(sources)),
        films.groups,
        films.seed,
        settings.table_permutations,
        reason,
    )
    return {
        "sources": sources,
        "labels": list(names),
        "table": table.astype(int).tolist(),
        "one_class_sources": [s for s, row in zip(sources, table, strict=True) if (row > 0).sum() == 1],
        "unknown_films": int((films.sources == UNKNOWN).sum()),
        "cramers_v": found,
    }


def predicted_source(
    features: Mapping[str, Floats], films: Films, folds: npt.NDArray[np.int64], settings: ShortcutSettings
) -> dict[str, Any]:
    """The source as told by features, out of fold, beside the share of the largest source and a permutation null.

    Args:
        features: name to (n, d) features of the films.
        films: the films.
        folds: (n,) their folds.
        settings: permutations, films that a source needs.

    Returns:
        ``left_out`` sources (too few films or groups, or not known), ``majority_share``, and for each name ``accuracy``
        and ``macro_auc`` with intervals and ``null``; or why there is none.
    """
    counts = pd.DataFrame({"source": films.sources, "group": films.groups, "fold": folds}).groupby("source")
    enough = [
        str(source)
        for source, rows in counts
        if source != UNKNOWN and len(rows) >= settings.min_source_films and rows["fold"].nunique() > 1
    ]
    left_out = sorted(set(films.sources.tolist()) - set(enough))
    reason = _one_source(sorted(set(films.sources.tolist())))
    if not reason and len(enough) < 2:
        reason = f"fewer than two sources have {settings.min_source_films} films in two folds"
    if reason:
        missing = {name: unavailable(reason) for name in ("accuracy", "macro_auc")}
        return {"left_out": left_out, "majority_share": None, "from": dict.fromkeys(features, missing)}
    kept = np.isin(films.sources.astype(str), enough)
    chosen = films.take(kept)
    codes = np.searchsorted(np.array(enough, dtype=str), chosen.sources.astype(str)).astype(np.int64)
    about = Films(codes, chosen.groups, chosen.sources, None, films.seed, films.resamples)
    found: dict[str, Any] = {}
    for name, values in features.items():
        probe = Probe(values[kept], folds[kept], films.seed)
        said = scored(about, probe.scores(codes, len(enough)))
        places = permuted_rows(chosen.groups, folds[kept], films.seed, settings.permutations)
        null = probe.null(codes, len(enough), places)
        found[name] = {**said, "null": null_said(said["macro_auc"]["value"], null)}
    share = float(np.bincount(codes).max() / len(codes))
    return {"left_out": left_out, "sources": enough, "films": len(codes), "majority_share": share, "from": found}


def null_said(value: float | None, null: Floats) -> dict[str, Any]:
    """Mean and upper end of a permutation null, and the p-value of the value."""
    known = null[np.isfinite(null)]
    if value is None or not len(known):
        return {"mean": None, "high": None, "p_value": None, "permutations": len(known)}
    return {
        "mean": float(known.mean()),
        "high": float(np.quantile(known, LEVEL)),
        "p_value": permutation_p_value(value, known),
        "permutations": len(known),
    }


def _one_source(sources: Sequence[str]) -> str:
    """Why nothing can be said of several sources; empty where it can."""
    if list(sources) == [UNKNOWN]:
        return "no film names its source: fill the column source of metadata.csv"
    return f"all films come from one source, {sources[0]}" if len(sources) == 1 else ""
