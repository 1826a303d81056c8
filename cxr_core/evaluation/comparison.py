"""Out-of-fold scores of several ways of training on the same films, inside each source and side by side (TRAPS 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES, Ranking, resample_weights
from cxr_core.evaluation.folds import SPLIT
from cxr_core.evaluation.intervals import Counts, entry
from cxr_core.evaluation.metrics import named_sources, probabilities_of
from cxr_core.evaluation.paired import difference_entry, paired_difference
from cxr_core.evaluation.report import evaluation_report
from cxr_core.evaluation.source_scores import DISEASE

__all__ = ["MEAN", "REPORT_FILE", "check_source_groups", "inside_table", "out_of_fold_report", "paired_difference"]

Floats = npt.NDArray[np.float64]

MEAN = "mean of the sources"
REPORT_FILE = "out_of_fold.json"


def out_of_fold_report(
    predictions: Mapping[str, pd.DataFrame],
    names: Sequence[str],
    seed: int,
    source_groups: Mapping[str, Sequence[str]] | None = None,
    resamples: int = RESAMPLES,
    normal: str = "Normal",
) -> dict[str, Any]:
    """Score each way of training and its difference from the first.

    Args:
        predictions: way of training to its out-of-fold predictions; all of the same films.
        names: class names in output order.
        seed: of the bootstrap.
        source_groups: sources to score together as well, name to sources.
        resamples: of the bootstrap.
        normal: name of the class without disease.

    Returns:
        JSON-ready. ``ways``: for each way what :func:`cxr_core.evaluation.report.evaluation_report` says, and
        ``inside``: area under the ROC curve of disease against normal inside each source that has both, inside each
        source group, and its mean over those sources that have enough patient groups of both; each with ``value``,
        ``low``, ``high``, a ``reason`` where there is no interval, ``films``, ``groups``,
        ``sources``. ``differences``: for each way but the first, ``of`` it ``minus`` the first, ``inside`` (as above)
        and ``pooled`` (see :func:`~cxr_core.evaluation.paired.paired_difference`), each with ``value``, ``low``,
        ``high``, ``p_value``; both ways see the same resampled patient groups. An interval that cannot be had is None.

    Raises:
        CxrError: the ways did not predict the same films, or a group names a source that no film has.
    """
    tables = {way: table.sort_values("image_id", ignore_index=True) for way, table in predictions.items()}
    first, *others = tables
    fixed = ["image_id", "label_index", "source", "group_id"]
    for way in others:
        if not tables[way][fixed].equals(tables[first][fixed]):
            raise CxrError(f"{way} and {first} did not predict the same films: cross-validate both anew.")
    insides = {
        way: _inside(table, names, seed, source_groups or {}, resamples, normal) for way, table in tables.items()
    }
    ways = {way: evaluation_report(table, names, seed, SPLIT, resamples, normal) for way, table in tables.items()}
    for way, report in ways.items():
        report["inside"] = {name: area.report() for name, area in insides[way].items()}
    return {
        "notice": NOTICE,
        "seed": seed,
        "level": LEVEL,
        "resamples": resamples,
        "ways": ways,
        "differences": [
            {
                "of": way,
                "minus": first,
                "inside": {name: insides[way][name].minus(area) for name, area in insides[first].items()},
                "pooled": _pooled(tables[way], tables[first], names, seed, resamples),
            }
            for way in others
        ],
    }


def inside_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """The areas, one row each, single sources first: ``inside``, ``films``, then for each way its value and bounds."""
    rows: dict[str, dict[str, Any]] = {}
    for way, said in report["ways"].items():
        for name, area in sorted(said["inside"].items(), key=lambda item: (len(item[1]["sources"]), item[0])):
            row = rows.setdefault(name, {"inside": name, "films": area["films"]})
            row.update({way: area["value"], f"{way}_low": area["low"], f"{way}_high": area["high"]})
    return pd.DataFrame(list(rows.values()))


def check_source_groups(sources: pd.Series, source_groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse groups of sources that the films do not bear out, before hours are spent.

    Args:
        sources: source of each film.
        source_groups: name of a group to its sources.

    Raises:
        CxrError: a group has the name of a source, or names a source that no film has.
    """
    known = set(named_sources(sources))
    for name, members in source_groups.items():
        if name in known or name == MEAN:
            raise CxrError(f"crossval.source_groups: {name!r} is taken already: give the group another name.")
        if unknown := sorted(set(members) - known):
            raise CxrError(
                f"crossval.source_groups: no film comes from {unknown[0]!r}; there are {', '.join(sorted(known))}."
            )


class _Area:
    """Area under a ROC curve, and what resampling makes of it."""

    def __init__(
        self, value: float, spread: Floats, sources: Sequence[str], films: int, groups: int, few: str | None = None
    ) -> None:
        self.value = value
        self.spread = spread
        self.few = few  # why the groups are too few for an interval
        self._about = {"sources": list(sources), "films": films, "groups": groups}

    def report(self) -> dict[str, Any]:
        return {**entry(self.value, self.spread, few=self.few), **self._about}

    def minus(self, other: _Area) -> dict[str, Any]:
        return difference_entry(self.value - other.value, self.spread - other.spread, self.few or other.few)


def _inside(
    table: pd.DataFrame,
    names: Sequence[str],
    seed: int,
    source_groups: Mapping[str, Sequence[str]],
    resamples: int,
    normal: str,
) -> dict[str, _Area]:
    """Area inside each source with both sides, inside each group, and the mean over sources with groups enough."""
    check_source_groups(table["source"], source_groups)
    sources = named_sources(table["source"])
    if normal not in names:
        return {}
    place = list(names).index(normal)
    diseased = (table["label_index"] != place).to_numpy()
    scores = 1 - probabilities_of(table, len(names))[:, place]
    found: dict[str, _Area] = {}
    sets = {source: [source] for source in sorted(sources.unique())}
    for name, members in {**sets, **source_groups}.items():
        rows = sources.isin(members).to_numpy()
        if diseased[rows].all() or not diseased[rows].any():
            continue
        groups = table["group_id"].to_numpy(object)[rows]
        ranking = Ranking(diseased[rows], scores[rows])
        value = float(ranking.auc(np.ones((1, int(rows.sum()))))[0])
        spread = np.concatenate([ranking.auc(weights) for weights in resample_weights(groups, seed, resamples)])
        sides = diseased[rows].astype(np.int64)
        counts = Counts.of(sides, sides, groups, (normal, DISEASE))
        few = counts.too_few("auc", 1)
        found[name] = _Area(value, spread, members, int(rows.sum()), counts.groups, few)
    single = {
        source: (sources == source).to_numpy() for source in sets if source in found and found[source].few is None
    }
    if len(single) > 1:
        found[MEAN] = _mean(table, single, diseased, scores, found, seed, resamples)
    return found


def _mean(
    table: pd.DataFrame,
    rows: Mapping[str, npt.NDArray[np.bool_]],
    diseased: npt.NDArray[np.bool_],
    scores: Floats,
    found: Mapping[str, _Area],
    seed: int,
    resamples: int,
) -> _Area:
    """Mean of the areas inside the sources, all on the same resamples: a group may have films in several sources."""
    groups = table["group_id"].to_numpy(object)
    rankings = {source: Ranking(diseased[chosen], scores[chosen]) for source, chosen in rows.items()}
    spread = [
        np.mean([rankings[source].auc(weights[:, chosen]) for source, chosen in rows.items()], axis=0)
        for weights in resample_weights(groups, seed, resamples)
    ]
    value = float(np.mean([found[source].value for source in rows]))
    all_rows = np.any(list(rows.values()), axis=0)
    return _Area(value, np.concatenate(spread), list(rows), int(all_rows.sum()), len(set(groups[all_rows].tolist())))


def _pooled(
    table: pd.DataFrame, reference: pd.DataFrame, names: Sequence[str], seed: int, resamples: int
) -> dict[str, Any]:
    """Differences of the scores over all films."""
    p, q = probabilities_of(table, len(names)), probabilities_of(reference, len(names))
    labels, groups = table["label_index"].to_numpy(np.int64), table["group_id"].to_numpy(object)
    return paired_difference(labels, p, q, groups, seed, resamples, names)
