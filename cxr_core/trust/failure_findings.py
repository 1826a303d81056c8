"""What the failure numbers say, in sentences made of them, and the report's claims beside (report 6.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_core.evaluation.availability import is_available

__all__ = ["association_sentences", "failure_claims"]

_SURE = 0.95  # share of resamples from which an order counts as measured: the level of every interval here
_SAID = {
    "error": "wrong",
    "false_positive": "called a disease though normal",
    "false_negative": "called normal though ill",
}
_WITH = {"flag": "with", "source": "of"}
_POOR = ("mean", "std")  # of the index: what is low in an underexposed film of low contrast


def association_sentences(found: Sequence[Mapping[str, Any]], alpha: float) -> list[str]:
    """One sentence for each association that is significant after Holm, strongest evidence first; else one that says
    that there is none.

    Args:
        found: what :func:`cxr_core.trust.failure_association.associations` returns.
        alpha: level of the family.
    """
    tested = [entry for entry in found if entry["holm"] is not None]
    if not tested:
        return ["Associations of errors are not available: too few wrong films differ in anything recorded."]
    sure = sorted((entry for entry in tested if entry["holm"] <= alpha), key=lambda entry: entry["p"])
    if not sure:
        return [f"None of {len(tested)} associations of errors with quality or source is significant after Holm."]
    return [_sentence(entry) for entry in sure]


def failure_claims(report: Mapping[str, Any], alpha: float) -> list[dict[str, Any]]:
    """Claims of report 6.2 beside what is measured here.

    Args:
        report: the failure report without sentences and claims.
        alpha: level of the family of associations.

    Returns:
        For each ``claim`` its ``section``, the sentence ``measured``, and ``holds``, None where these films cannot
        tell.
    """
    return [_conservative(report), _diseases(report["between_diseases_lead"]), _quality(report["associations"], alpha)]


def _sentence(entry: Mapping[str, Any]) -> str:
    said = _SAID[entry["outcome"]]
    if entry["measure"] == "rank_biserial":
        more = "higher" if entry["value"] > 0 else "lower"
        core = (
            f"Films that are {said} have a {more} {entry['title']} than other films of their class "
            f"(rank-biserial {entry['value']:+.2f}{_range(entry, '+.2f')}"
        )
    elif is_available(entry):
        interval = _range(entry, ".2f").strip(", ") or "no interval"
        core = (
            f"Films {_WITH[entry['kind']]} {entry['title']} have {entry['value']:.2f} times the odds of others of "
            f"their class to be {said} ({interval}"
        )
    else:
        core = (
            f"Films {_WITH[entry['kind']]} {entry['title']} are never, or alone, {said} in their class (no odds ratio"
        )
    return f"{core}; p {entry['holm']:.2g} after Holm)."


def _range(entry: Mapping[str, Any], form: str) -> str:
    if entry["low"] is None and entry["high"] is None:
        return ""
    low, high = (format(entry[end], form) if entry[end] is not None else "open" for end in ("low", "high"))
    return f", {low} to {high}"


def _claim(claim: str, measured: str, holds: bool | None) -> dict[str, Any]:
    return {"section": "6.2", "claim": claim, "measured": measured, "holds": holds}


def _conservative(report: Mapping[str, Any]) -> dict[str, Any]:
    claim = "Conservative: the model rather flags the healthy than misses the ill."
    over, under, bias = report["false_positives"], report["false_negatives"], report["bias"]
    if not is_available(bias):
        return _claim(claim, f"Not available: {bias['reason']}.", None)
    measured = (
        f"{over['count']:,} of {over['films']:,} normal films are called a disease ({over['value']:.1%}, "
        f"{over['low']:.1%} to {over['high']:.1%}), {under['count']:,} of {under['films']:,} diseased films normal "
        f"({under['value']:.1%}, {under['low']:.1%} to {under['high']:.1%})."
    )
    if bias["low"] is None:
        return _claim(claim, measured, None)
    return _claim(claim, measured, True if bias["low"] > 0 else False if bias["high"] < 0 else None)


def _diseases(lead: Mapping[str, Any]) -> dict[str, Any]:
    claim = "Two diseases are confused with each other most often."
    if not is_available(lead):
        return _claim(claim, f"Not available: {lead['reason']}.", None)
    counts = ", ".join(f"{' and '.join(entry['classes'])} {entry['count']:,}" for entry in lead["counts"])
    measured = f"Confusions either way: {counts}; two diseases lead in {lead['value']:.0%} of the resamples."
    return _claim(claim, measured, True if lead["value"] >= _SURE else False if lead["value"] <= 1 - _SURE else None)


def _quality(found: Sequence[Mapping[str, Any]], alpha: float) -> dict[str, Any]:
    claim = "Missed films are underexposed and low in contrast."
    own = [
        entry
        for entry in found
        if entry["outcome"] == "false_negative" and entry["covariate"] in _POOR and is_available(entry)
    ]
    if not own:
        return _claim(claim, "Not available: too few diseased films are called normal.", None)
    said = "; ".join(
        f"{entry['title']}: rank-biserial {entry['value']:+.2f}{_range(entry, '+.2f')}, Holm's p {entry['holm']:.2g}"
        for entry in own
    )
    sure = [entry for entry in own if entry["holm"] is not None and entry["holm"] <= alpha]
    holds = True if any(entry["value"] < 0 for entry in sure) else False if sure else None
    return _claim(claim, f"Missed against found films of one class: {said}.", holds)
