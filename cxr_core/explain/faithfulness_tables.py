"""The trial of the maps as one table: every number with its interval, its class and what it is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from cxr_core.explain.deletion import MODES

__all__ = ["COLUMNS", "score_table"]

COLUMNS = ("method", "measure", "what", "of", "value", "low", "high", "films", "reason")


def score_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """One row a number: method, measure (``deletion``, ``energy in lungs`` ...), what (``map``, ``random``,
    ``against_random`` ...), of (``all`` or a class), value, low, high, films, reason (empty where there is a value)."""
    rows = [row for method, part in report["methods"].items() for row in _of_method(method, part)]
    rows += list(_rows("both", "agreement", report["agreement"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_method(method: str, part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for mode in MODES:
        yield from _rows(method, mode, part[mode])
    for region in ("lungs", "border", "padding", "true_lungs"):
        yield from _rows(method, f"energy in {region}", part["regions"][region])
    lesions = part["regions"]["lesions"]
    if "pointing" in lesions:
        for measure in ("pointing", "iou"):
            yield from _rows(method, measure, lesions[measure])
    else:
        yield _row(method, "pointing", "map", "all", lesions)
    repeated = part["repeatability"]
    for measure in [name for name in repeated if isinstance(repeated[name], dict)]:
        yield from _rows(method, f"two seeds, {measure}", repeated[measure])
    for measure, found in part["randomisation"].get("measures", {}).items():
        for level, scores in zip(part["randomisation"]["levels"], found["levels"], strict=True):
            yield from _rows(method, f"randomised, {measure}", {level: scores})


def _rows(method: str, measure: str, part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "value" in part:  # not available as a whole
        yield _row(method, measure, "", "all", part)
        return
    for what, scores in part.items():
        if isinstance(scores, dict) and "overall" in scores:
            yield _row(method, measure, what, "all", scores["overall"])
            for name, entry in scores["per_class"].items():
                yield _row(method, measure, what, name, entry)
        elif isinstance(scores, dict) and "value" in scores:
            yield _row(method, measure, what, "all", scores)


def _row(method: str, measure: str, what: str, of: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: entry.get(name) for name in ("value", "low", "high", "films")}
    return {"method": method, "measure": measure, "what": what, "of": of, **numbers, "reason": entry.get("reason", "")}
