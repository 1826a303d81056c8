"""The verdict of the shortcut audit, by rule, with the numbers that it rests on (TRAPS 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cxr_core.evaluation.availability import is_available
from cxr_core.settings_trust import ShortcutSettings
from cxr_core.trust.subgroup_multiplicity import holm

__all__ = ["adjust_views", "best_view", "shortcut_verdict"]


def adjust_views(views: list[dict[str, Any]]) -> None:
    """Add Holm's p-value among the lung-free views to each of them, in place; None where there is no test."""
    tested = [view for view in views if view["lung_free"]]
    p = [view.get("null", {}).get("p_value") for view in tested]
    adjusted = holm(np.array([np.nan if value is None else value for value in p], np.float64))
    for view, value in zip(tested, adjusted.tolist(), strict=True):
        view["p_holm"] = None if np.isnan(value) else value


def best_view(views: list[dict[str, Any]], score: str = "macro_auc") -> dict[str, Any] | None:
    """The lung-free view of largest score; the first of equals; None where none has one."""
    known = [view for view in views if view["lung_free"] and is_available(view.get(score))]
    return max(known, key=lambda view: float(view[score]["value"])) if known else None


def shortcut_verdict(report: Mapping[str, Any], settings: ShortcutSettings) -> dict[str, Any]:
    """Whether the score is to be had without lungs.

    Two rules, either of which fails the data and model:

    - ``explained``: the lower end of the share of the model's macro AUC above chance that the best lung-free view
      reaches on the test films is above ``max_explained_share``;
    - ``lung_free``: a view without lungs has a macro AUC whose lower end is above ``max_lung_free_auc``, and beats
      labels permuted over groups (Holm's p at most ``alpha``). It needs no model, so it judges a data set as well.

    Args:
        report: with ``views`` and, where a model was audited, ``model``; ``source``.
        settings: the limits.

    Returns:
        ``passed``, ``sentence``, ``measure`` (the rule whose numbers follow), ``value``, ``low``, ``high``, ``limit``,
        ``flagged`` (names of the rules broken). Not passed where no lung-free view could be measured.
    """
    views = report["views"]
    over = [view for view in views if view["lung_free"] and _beats(view, settings)]
    best = best_view(over or views)
    share = (report.get("model") or {}).get("explained") or {}
    explained = is_available(share) and share.get("low") is not None and share["low"] > settings.max_explained_share
    flagged = [name for name, broken in (("explained", explained), ("lung_free", bool(over))) if broken]
    numbers: dict[str, Any]
    if best is None:
        sentence = "How much can be had without lungs was not measured: no view could be scored."
        numbers = {"measure": "lung_free", "limit": settings.max_lung_free_auc}
        numbers.update(dict.fromkeys(("value", "low", "high")))
        return {"passed": False, "sentence": sentence, "flagged": [], **numbers}
    if is_available(share) and (explained or not over):
        numbers = {"measure": "explained", "limit": settings.max_explained_share, **_numbers(share)}
    else:
        numbers = {"measure": "lung_free", "limit": settings.max_lung_free_auc, **_numbers(best["macro_auc"])}
    said = [*_share_sentence(share), _view_sentence(best, bool(over), settings), *_source_sentence(report)]
    return {"passed": not flagged, "sentence": " ".join(said), "flagged": flagged, **numbers}


def _beats(view: Mapping[str, Any], settings: ShortcutSettings) -> bool:
    area, p = view.get("macro_auc"), view.get("p_holm")
    if not is_available(area) or p is None:
        return False
    assert area is not None
    # Without an interval (a view that never errs) the value itself has to do.
    low = area["low"] if area["low"] is not None else area["value"]
    return low > settings.max_lung_free_auc and p <= settings.alpha


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("value", "low", "high")}


def _share_sentence(share: Mapping[str, Any]) -> list[str]:
    if not share:
        return []
    if not is_available(share):
        return [f"How much of the score is explained without lungs is not available: {share['reason']}."]
    return [
        f"{share['value']:.0%}{_interval(share, '.0%')} of what the model's macro AUC of {share['model_auc']:.3f} on "
        f"test has above chance is explained without lungs, by {share['view']} ({share['view_auc']:.3f} there)."
    ]


def _view_sentence(view: Mapping[str, Any], over: bool, settings: ShortcutSettings) -> str:
    area, p = view["macro_auc"], view.get("p_holm")
    chance = "" if p is None else f", p = {p:.3g} against permuted labels"
    bound = "surely above" if over else "not surely above"
    return (
        f"Over all films the label is told from {view['title']} with a macro AUC of "
        f"{area['value']:.3f}{_interval(area, '.3f')}{chance}: {bound} the limit of {settings.max_lung_free_auc:g}."
    )


def _source_sentence(report: Mapping[str, Any]) -> list[str]:
    found = (report.get("source") or {}).get("cramers_v") or {}
    if not found:
        return []
    if not is_available(found):
        return [f"Label against source is not available: {found['reason']}."]
    return [f"Label and source go together with Cramér's V {found['value']:.2f} (p = {found['p_value']:.3g})."]


def _interval(entry: Mapping[str, Any], form: str) -> str:
    return "" if entry.get("low") is None else f" ({entry['low']:{form}} to {entry['high']:{form}})"
