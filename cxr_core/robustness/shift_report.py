"""The report of the embedding shift: distances, what accuracy does beside them, and what both say of report 5.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import is_available
from cxr_core.robustness.shift import Version, embedding_shift
from cxr_core.robustness.shift_distances import DISTANCES
from cxr_core.robustness.shift_warning import NULLS, accuracy_loss, association, early_warning, severity_association
from cxr_core.settings_stress import ShiftSettings

__all__ = ["PUBLISHED", "REPORT_FILE", "published_table", "shift_report", "shift_table"]

REPORT_FILE = "embedding_shift.json"
PUBLISHED = ("cosine", "frechet", "norm_shift")  # the columns of the table in report 5.3


def shift_report(
    clean: Version,
    versions: Mapping[str, Version],
    groups: Sequence[str],
    settings: ShiftSettings,
    resamples: int,
    drawn: npt.NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Everything that is said of the shift.

    Args:
        clean, versions, groups, settings, drawn: as :func:`~cxr_core.robustness.shift.embedding_shift`.
        resamples: of the bootstraps.

    Returns:
        What that returns, and: ``accuracy_loss`` in each of ``conditions``; ``association``,
        ``association_of_severity`` and ``early_warning`` (see
        :mod:`cxr_core.robustness.shift_warning`); ``report_table``, rows in the form of report 5.3; ``sentences``.
    """
    report = embedding_shift(clean, versions, groups, settings, drawn)
    losses = accuracy_loss(clean, versions, groups, settings, resamples)
    report["association"] = association(report["conditions"], losses, settings.seed, resamples)
    report["association_of_severity"] = severity_association(report["conditions"], losses, settings.seed, resamples)
    report["early_warning"] = early_warning(report["conditions"], losses)
    for condition, entry in report["conditions"].items():
        entry["accuracy_loss"] = losses[condition]
    report["clean_accuracy"] = float(clean.correct.mean()) if len(clean.correct) else None
    report["resamples"] = resamples
    report["report_table"] = _published(report)
    report["sentences"] = _sentences(report)
    return report


def shift_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """One row a condition and distance: value, nulls, p-values, and why there is none where there is none."""
    rows = []
    for condition, entry in report["conditions"].items():
        for name, found in entry["distances"].items():
            exchange, other = found.get("exchange", {}), found.get("other_films", {})
            halves = report["distances"][name]["halves"]
            rows.append(
                {
                    "condition": condition,
                    "corruption": entry["corruption"],
                    "severity": entry["severity"],
                    "distance": name,
                    "value": found["value"],
                    "exchange_low": exchange.get("low"),
                    "exchange_high": exchange.get("high"),
                    "p": found.get("p"),
                    "holm": found.get("holm"),
                    "beyond": found.get("beyond"),
                    "other_films": other.get("value"),
                    "halves_low": halves["low"],
                    "halves_high": halves["high"],
                    "beyond_halves": other.get("beyond"),
                    "share_beyond_halves": other.get("share_beyond"),
                    "accuracy_loss": entry["accuracy_loss"]["value"],
                    "accuracy_holm": entry["accuracy_loss"]["holm"],
                    "reason": found.get("reason", ""),
                }
            )
    numbers = ("value", "exchange_low", "exchange_high", "p", "holm", "other_films", "halves_low", "halves_high")
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(numbers, "float64")) if rows else table


def published_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """The table of report 5.3 for its presets, with the null between halves beside each distance."""
    rows = []
    for row in report["report_table"]:
        shown: dict[str, Any] = {"condition": row["condition"]}
        for name in PUBLISHED:
            shown[DISTANCES[name].title] = row[name]["value"]
            shown[f"{DISTANCES[name].title}, p (Holm)"] = row[name].get("holm")
            for end in ("low", "high"):
                shown[f"{DISTANCES[name].title}, clean halves {end}"] = row[f"{name}_halves"][end]
        rows.append(shown)
    return pd.DataFrame(rows)


def _published(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of report 5.3 (its presets, severity 0), each distance with both nulls."""
    rows = []
    for condition, entry in report["conditions"].items():
        if entry["severity"] == 0:
            found = {name: entry["distances"][name] for name in PUBLISHED}
            nulls = {f"{name}_halves": report["distances"][name]["halves"] for name in PUBLISHED}
            rows.append({"condition": condition, **found, **nulls})
    return rows


def _sentences(report: Mapping[str, Any]) -> list[str]:
    said = [
        *_of_halves(report),
        *(_of_preset(row) for row in report["report_table"] if is_available(row["frechet"])),
        *_of_association(report["association"], report["association_of_severity"]),
        *(text for null in NULLS for text in _of_warning(report["early_warning"][null], null)),
    ]
    resolution = report["resolution"]
    if resolution["tests"] and not resolution["enough"]:
        said.append(
            f"With {report['exchanges']:,} exchanges of {report['drawn']['groups']} groups no p-value can be below "
            f"{resolution['smallest_p']:.2g}, which the correction of {resolution['tests']} tests makes "
            f"{resolution['smallest_holm']:.2g}: nothing can be significant at {report['level']}."
        )
    return said


def _of_halves(report: Mapping[str, Any]) -> list[str]:
    halves = report["distances"]["frechet"]["halves"]
    if not is_available(halves):
        return [f"No distance is available: {halves['reason']}."]
    return [
        f"Between two halves of the {report['drawn']['films']:,} clean films ({halves['films'][0]:,} against "
        f"{halves['films'][1]:,}) the Fréchet distance is {halves['value']:.3g} ({halves['low']:.3g} to "
        f"{halves['high']:.3g}) in {report['dimensions']:,} dimensions: no corruption at all."
    ]


def _of_preset(row: Mapping[str, Any]) -> str:
    parts = []
    for name in PUBLISHED:
        entry, halves = row[name], row[f"{name}_halves"]
        if not is_available(entry):
            continue
        text = f"{DISTANCES[name].title} {entry['value']:.3g}"
        if "p" in entry:
            null = entry["exchange"]
            text += f" ({null['low']:.3g} to {null['high']:.3g} by exchange, p {entry['holm']:.2g} after correction)"
        else:
            text += f" ({halves['value']:.3g} between different clean films)"
        parts.append(text)
    return f"{row['condition'].capitalize()}: {'; '.join(parts)}."


def _of_association(found: Mapping[str, Mapping[str, Any]], severity: Mapping[str, Any]) -> list[str]:
    known = {name: entry for name, entry in found.items() if is_available(entry)}
    if not known:
        return []
    order = sorted(known, key=lambda name: (-known[name]["value"], name))
    texts = [f"{_estimate(known[name])} for {DISTANCES[name].title}" for name in dict.fromkeys((order[0], order[-1]))]
    entry = known[order[0]]
    said = (
        f"Over {entry['conditions']} conditions of {entry['corruptions']} corruptions the rank correlation with the "
        f"accuracy lost is {', down to '.join(texts)}"
    )
    if is_available(severity):
        said += f"; that of the severity alone is {_estimate(severity)}"
    return [f"{said}."]


def _estimate(entry: Mapping[str, Any]) -> str:
    interval = f" ({entry['low']:.2f} to {entry['high']:.2f})" if entry["low"] is not None else ""
    return f"{entry['value']:.2f}{interval}"


def _of_warning(found: Mapping[str, Mapping[str, Any]], null: str) -> list[str]:
    said = []
    for name, entry in found.items():
        if "counts" not in entry:
            continue
        counts = entry["counts"]
        falls = sum(counts[outcome] for outcome in ("earlier", "same", "later", "missed"))
        stays = counts["no_loss"] + counts["neither"]
        said.append(
            f"{DISTANCES[name].title[0].upper()}{DISTANCES[name].title[1:]}, {NULLS[null]}: of {falls} corruptions "
            f"under which accuracy falls beyond chance it is seen at a milder severity in {counts['earlier']}, at the "
            f"same in {counts['same']}, later in {counts['later']}, never in {counts['missed']}; of {stays} under "
            f"which accuracy does not, it is seen in {counts['no_loss']}."
        )
    return said
