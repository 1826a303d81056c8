"""Operating points judged on films that had no part in choosing them, pooled and inside each source (TRAPS 1, 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import finite_probabilities, is_available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL, RESAMPLES
from cxr_core.evaluation.operating_points_record import OperatingPoint, OperatingPoints
from cxr_core.evaluation.operating_points_scores import Groups, flag_scores

__all__ = ["WHO_SENSITIVITY", "WHO_SPECIFICITY", "judge_operating_points", "points_table", "who_verdict"]

# Minimal requirements of a triage test: WHO, High-priority target product profiles for new TB diagnostics, 2014.
WHO_SENSITIVITY = 0.90
WHO_SPECIFICITY = 0.70
_SCORES = ("sensitivity", "specificity", "ppv", "npv")


def judge_operating_points(
    points: OperatingPoints,
    probabilities: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    groups: Groups,
    sources: Sequence[Any] | npt.NDArray[np.object_],
    seed: int,
    resamples: int = RESAMPLES,
    who_specificity: float = WHO_SPECIFICITY,
) -> dict[str, Any]:
    """Score each point.

    Args:
        points: the thresholds, as they were fixed.
        probabilities: (n, k) calibrated by the same temperature.
        labels: (n,) class indices.
        groups: n group names.
        sources: n source names; what is empty counts as ``unknown``.
        seed, resamples: of the bootstrap.
        who_specificity: least specificity of the tuberculosis point of 90 % sensitivity.

    Returns:
        JSON-ready: ``points``, by name: the ``point`` as it was fixed, ``pooled``, and ``per_source`` by source; each
        with ``films``, ``positives``, ``flagged``, ``prevalence`` (share of the class, at which the predictive values
        hold), ``sensitivity``, ``specificity``, ``ppv``, ``npv``, each ``value``, ``low``, ``high``, or None with the
        ``reason``. ``verdict``: see :func:`who_verdict`. And ``digest`` of the points, ``films``, ``groups``, ``seed``,
        ``level``, ``resamples``.

    Raises:
        CxrError: probabilities that are not finite, or shapes that do not match.
    """
    values = finite_probabilities(probabilities)
    counts = {len(labels), len(groups), len(sources)}
    if counts != {len(values)} or values.shape[1] != len(points.labels):
        raise CxrError(
            f"Probabilities of shape {values.shape} do not fit the labels, groups, sources and the "
            f"{len(points.labels)} classes of the operating points: predict again."
        )
    names = np.array([_named(source) for source in sources], dtype=str)
    group_names = np.asarray(groups, dtype=str)
    judged: dict[str, Any] = {}
    for point in points.points:
        said: dict[str, Any] = {"point": point.model_dump(mode="json")}
        if point.threshold is None:
            judged[point.name] = {**said, "reason": point.reason, "pooled": None, "per_source": {}}
            continue

        def scored(rows: npt.NDArray[np.bool_], point: OperatingPoint = point) -> dict[str, Any]:
            return _scores(point, values[rows], labels[rows], group_names[rows], seed, resamples)

        judged[point.name] = {
            **said,
            "pooled": scored(np.ones(len(values), bool)),
            "per_source": {source: scored(names == source) for source in sorted(set(names.tolist()))},
        }
    return {
        "points": judged,
        "verdict": who_verdict(judged, who_specificity),
        "digest": points.digest,
        "temperature": points.temperature,
        "films": len(values),
        "groups": len(np.unique(group_names)),
        "seed": seed,
        "level": LEVEL,
        "resamples": resamples,
    }


def who_verdict(judged: dict[str, Any], specificity: float = WHO_SPECIFICITY) -> dict[str, Any]:
    """Whether the tuberculosis point of 90 % sensitivity reaches the least specificity and keeps its sensitivity.

    It passes when the specificity is not below ``specificity`` and the interval of the sensitivity reaches the target.
    A data set without the class has nothing to pass, which is said.

    Args:
        judged: ``points`` of :func:`judge_operating_points`.
        specificity: least, 0-1.

    Returns:
        ``passed``, ``sentence``, ``value`` with ``low``, ``high`` (the specificity), ``limit``, ``sensitivity``.
    """
    name = f"tb_sensitivity_{100 * WHO_SENSITIVITY:g}"
    entry = judged.get(name)
    about = {"value": None, "low": None, "high": None, "limit": specificity, "sensitivity": None}
    if entry is None or entry["pooled"] is None:
        reason = entry["reason"] if entry else f"no point {name} was fixed"
        passed = entry is not None and entry["point"]["label_index"] is None
        return {"passed": passed, "sentence": f"Not available: {reason}.", **about}
    found, seen = entry["pooled"]["specificity"], entry["pooled"]["sensitivity"]
    about.update({key: found[key] for key in ("value", "low", "high")}, sensitivity=seen)
    for kind, share in (("specificity", found), ("sensitivity", seen)):
        if not is_available(share):
            sentence = f"Not available: the {kind} on test, as {share['reason']}."
            return {"passed": False, "sentence": sentence, **about}
    reach = seen["high"] if seen["high"] is not None else seen["value"]
    kept, enough = reach >= entry["point"]["target"], found["value"] >= specificity
    sentence = (
        f"Of {seen['films']} tuberculosis films {_text(seen)} are flagged, which "
        f"{'reaches' if seen['value'] >= WHO_SENSITIVITY else 'is consistent with' if kept else 'stays below'} the "
        f"{WHO_SENSITIVITY:.0%} that the WHO asks of a triage test; of {found['films']} others {_text(found)} are not, "
        f"{'at' if enough else 'below'} the least specificity of {specificity:.0%}{' or above it' if enough else ''}."
    )
    return {"passed": bool(kept and enough), "sentence": sentence, **about}


def points_table(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows for a table: each point pooled and by source, ``name``, ``threshold``, ``where`` and the scores as text."""
    rows: list[dict[str, Any]] = []
    for name, entry in report["points"].items():
        about = {"name": name, "threshold": entry["point"]["threshold"]}
        if entry["pooled"] is None:
            rows.append({**about, "where": f"not available: {entry['reason']}"})
            continue
        for where, said in {"all": entry["pooled"], **entry["per_source"]}.items():
            shown = {score: _text(said[score]) for score in _SCORES}
            rows.append({**about, "where": where, "films": said["films"], "positives": said["positives"], **shown})
    return rows


def _scores(
    point: OperatingPoint,
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.integer],
    groups: npt.NDArray[np.str_],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    counts = {"films": len(labels), "groups": len(np.unique(groups))}
    if not len(labels):
        empty = {score: unavailable("there is no film") for score in _SCORES}
        return {**counts, "positives": 0, "flagged": 0, "prevalence": None, **empty}
    flagged, positive = point.flags(probabilities), labels == point.label_index
    return {
        **counts,
        "positives": int(positive.sum()),
        "flagged": int(flagged.sum()),
        "prevalence": float(positive.mean()),
        **flag_scores(flagged, positive, groups, seed, resamples),
    }


def _named(source: Any) -> str:
    """As :func:`cxr_core.evaluation.metrics.named_sources`, which brings pandas."""
    return "unknown" if source is None or source != source or source == "" else str(source)


def _text(share: dict[str, Any]) -> str:
    if not is_available(share):
        return "not available"
    if share["low"] is None:
        return f"{share['value']:.1%}"
    return f"{share['value']:.1%} [{share['low']:.1%}, {share['high']:.1%}]"
