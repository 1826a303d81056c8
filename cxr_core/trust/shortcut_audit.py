"""The shortcut audit: how much of a score is explained without lungs (TRAPS 1, 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities, unavailable
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.evaluation.folds import deal_folds
from cxr_core.evaluation.metrics import named_sources, probabilities_of
from cxr_core.settings_trust import ShortcutSettings
from cxr_core.trust.shortcut_association import association
from cxr_core.trust.shortcut_features import Seen
from cxr_core.trust.shortcut_marks import MARKS
from cxr_core.trust.shortcut_model import (
    SCORES,
    Films,
    explained_share,
    inside_against_pooled,
    inside_sources,
    scored,
)
from cxr_core.trust.shortcut_probes import Probe, macro_auc, permuted_rows
from cxr_core.trust.shortcut_source import label_by_source, null_said, predicted_source
from cxr_core.trust.shortcut_verdict import adjust_views, best_view, shortcut_verdict
from cxr_core.trust.shortcut_views import VIEWS
from cxr_core.trust.subgroup_multiplicity import holm

__all__ = ["REPORT_FILE", "audited_films", "shortcut_audit"]

Floats = npt.NDArray[np.float64]

REPORT_FILE = "shortcut_audit.json"


def audited_films(films: pd.DataFrame, settings: ShortcutSettings, seed: int) -> pd.DataFrame:
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


def shortcut_audit(
    films: pd.DataFrame,
    seen: Seen,
    names: Sequence[str],
    settings: ShortcutSettings,
    seed: int,
    resamples: int,
    predictions: pd.DataFrame | None = None,
    embeddings: Mapping[str, Floats] | None = None,
    normal: str = "Normal",
) -> dict[str, Any]:
    """Audit a data set, and a model where there is one.

    Args:
        films: n films: columns image_id, label, label_index, source, group_id.
        seen: what the classifiers may look at, of the same films in the same order.
        names: class names in output order.
        settings: folds, permutations, limits.
        seed: of folds, permutations, bootstrap.
        resamples: of the bootstrap.
        predictions: the predictions table of a model; its test films are scored.
        embeddings: name to (n, d) what a network sees of the films, from which the source is predicted.
        normal: name of the class without disease.

    Returns:
        JSON-ready: ``views`` (what the classifier sees, its scores out of fold with intervals, null, scores inside
        sources), ``source``, ``marks``, ``model`` (None without predictions), ``verdict``, and how it was done. Equal
        whatever the order of the rows.
    """
    order = np.argsort(films["image_id"].to_numpy(str), kind="stable")
    table = films.iloc[order].reset_index(drop=True)
    features = {name: values[order] for name, values in seen.features.items()}
    marks = seen.marks.iloc[order].reset_index(drop=True)
    about = _films(table, names, normal, seed, resamples)
    try:
        folds, problem = deal_folds(table, settings.folds, seed), ""
    except CxrError as error:
        folds, problem = np.zeros(len(table), np.int64), str(error).rstrip(".")
    scores: dict[str, Floats] = {}
    views = []
    for view in VIEWS:
        if view.name not in features:
            continue
        said: dict[str, Any] = {"name": view.name, "title": view.title, "lung_free": view.lung_free}
        if problem:
            views.append({**said, **{name: unavailable(problem) for name in SCORES}})
            continue
        probe = Probe(features[view.name], folds, seed)
        found = probe.scores(about.labels, len(names))
        scores[view.name] = found
        null = probe.null(about.labels, len(names), permuted_rows(about.groups, folds, seed, settings.permutations))
        areas = scored(about, found)
        inside = inside_sources(about, _disease(found, about.normal))
        about_null = null_said(areas["macro_auc"]["value"], null)
        views.append({**said, "features": features[view.name].shape[1], **areas, "null": about_null, "inside": inside})
    adjust_views(views)
    seen_by = {name: np.asarray(values, np.float64)[order] for name, values in (embeddings or {}).items()}
    source = label_by_source(about, names, settings)
    if problem:
        source["predicted"] = {"reason": problem, "from": {}}
    else:
        source["predicted"] = predicted_source(seen_by, about, folds, settings)
    report: dict[str, Any] = {
        "notice": NOTICE,
        "seed": seed,
        "level": LEVEL,
        "resamples": resamples,
        "folds": settings.folds,
        "films": len(table),
        "groups": len(set(about.groups)),
        "views": views,
        "source": source,
        "marks": _marks(marks, about, names, settings),
        "model": None if predictions is None else _model(predictions, table, scores, views, names, normal, about),
    }
    return {**report, "verdict": shortcut_verdict(report, settings)}


def _films(table: pd.DataFrame, names: Sequence[str], normal: str, seed: int, resamples: int) -> Films:
    return Films(
        table["label_index"].to_numpy(np.int64),
        table["group_id"].to_numpy(object),
        named_sources(table["source"]).to_numpy(object),
        list(names).index(normal) if normal in names else None,
        seed,
        resamples,
    )


def _disease(scores: Floats, normal: int | None) -> Floats:
    return 1 - scores[:, normal] if normal is not None else scores[:, 0]


def _marks(marks: pd.DataFrame, films: Films, names: Sequence[str], settings: ShortcutSettings) -> list[dict[str, Any]]:
    """Each mark: films by class and by source, and whether it goes with the class."""
    found: list[dict[str, Any]] = []
    sources = sorted(set(films.sources.tolist()))
    for mark in MARKS:
        has = marks[mark.name].to_numpy(np.bool_)
        reason = "no film carries it" if not has.any() else "all films carry it" if has.all() else "all have one label"
        shape = (len(names), 2)
        test = association(
            films.labels, has.astype(np.int64), shape, films.groups, films.seed, settings.table_permutations, reason
        )
        by_class = {name: _share(has, films.labels == place) for place, name in enumerate(names)}
        by_source = {name: _share(has, films.sources == name) for name in sources}
        counted = {"films": int(has.sum()), "by_class": by_class, "by_source": by_source}
        found.append({"name": mark.name, "title": mark.title, **counted, "label": test})
    p = np.array([said["label"].get("p_value", np.nan) for said in found], np.float64)
    for said, value in zip(found, holm(p).tolist(), strict=True):
        said["label"]["p_holm"] = None if np.isnan(value) else value
    return found


def _share(has: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_]) -> dict[str, int]:
    return {"marked": int((has & rows).sum()), "films": int(rows.sum())}


def _model(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    scores: Mapping[str, Floats],
    views: list[dict[str, Any]],
    names: Sequence[str],
    normal: str,
    about: Films,
) -> dict[str, Any]:
    """The model on its test films, beside each lung-free view on the same films."""
    places = pd.Series(np.arange(len(table)), index=table["image_id"])
    test = predictions[predictions["split"] == "test"]
    rows = test[test["image_id"].isin(places.index)].sort_values("image_id", ignore_index=True)
    if rows.empty:
        missing = unavailable("no audited film is in the test split", films=0)
        both = dict.fromkeys(("pooled", "inside", "difference"), missing)
        scores_said = dict.fromkeys((*SCORES, "explained"), missing)
        return {"films": 0, **scores_said, "views": {}, "inside": {}, "inside_against_pooled": both}
    own = finite_probabilities(probabilities_of(rows, len(names)))
    films = _films(rows, names, normal, about.seed, about.resamples)
    at = places[rows["image_id"]].to_numpy(np.intp)
    elsewhere = np.ones(len(table), np.bool_)
    elsewhere[at] = False
    shares: dict[str, dict[str, Any]] = {}
    chosen: list[dict[str, Any]] = []
    for view in views:
        if view["name"] in scores and view["lung_free"]:
            found = scores[view["name"]]
            shares[view["name"]] = {**explained_share(films, own, found[at]), "view": view["title"]}
            fit = macro_auc(about.labels[elsewhere], found[elsewhere]) if elsewhere.any() else float("nan")
            chosen.append({**view, "elsewhere": {"value": None if np.isnan(fit) else fit}})
    # The view is picked on films outside test, so that the best of several does not look better than it is.
    best = best_view(chosen, "elsewhere") or best_view(views)
    none = unavailable("no view without lungs could be scored", films=len(rows))
    return {
        "films": len(rows),
        **scored(films, own),
        "inside": inside_sources(films, _disease(own, films.normal)),
        "inside_against_pooled": inside_against_pooled(films, _disease(own, films.normal)),
        "explained": shares.get(best["name"], none) if best else none,
        "views": shares,
    }
