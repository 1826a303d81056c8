"""What the subgroup numbers amount to: the verdict by rule, and the report's claims beside them (report 6.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_core.evaluation.availability import is_available
from cxr_core.settings_trust import SubgroupSettings

__all__ = ["fails", "gap_note", "points", "span", "subgroup_claims", "subgroup_verdict"]

_SURE = 0.95  # share of resamples from which an order of classes counts as measured: the level of every interval here


def fails(entry: Mapping[str, Any], settings: SubgroupSettings) -> bool:
    """Whether a stratum is surely worse: its class-standardised gap is beyond the limit over its whole interval, and
    significant after Holm."""
    gap = entry["standardised_gap"]
    if not is_available(gap) or gap["high"] is None or gap["holm"] is None:
        return False
    return bool(gap["high"] < -settings.max_gap and gap["holm"] <= settings.alpha)


def subgroup_verdict(strata: Sequence[Mapping[str, Any]], settings: SubgroupSettings) -> dict[str, Any]:
    """The verdict of check ``subgroup_gap``.

    Args:
        strata: entries of the subgroup report.
        settings: limit and level.

    Returns:
        ``passed``; ``value``, ``low``, ``high`` of the worst class-standardised gap, of those that fail where any do;
        ``limit``; ``failing``: the strata that fail, worst first; ``tested``: strata with a test; ``sentence``. Not
        passed where no stratum could be tested: nothing is then known.
    """
    tested = [entry for entry in strata if is_available(entry["standardised_gap"])]
    limit = -settings.max_gap
    if not tested:
        sentence = (
            "Subgroup gaps are not available: no stratum and its rest have "
            f"{settings.min_films} films of {settings.min_groups} patient groups and a class in common."
        )
        empty = dict.fromkeys(("value", "low", "high"))
        return {"passed": False, "sentence": sentence, **empty, "limit": limit, "failing": [], "tested": 0}
    ordered = sorted(tested, key=lambda entry: entry["standardised_gap"]["value"])
    failing = [entry for entry in ordered if fails(entry, settings)]
    worst = (failing or ordered)[0]
    gap = worst["standardised_gap"]
    said = f"{_named(worst)} scores {points(gap['value'])} {span(gap)} against the rest at the same mix of classes"
    adjusted = f"p {gap['holm']:.3g} after Holm over all strata" if gap["holm"] is not None else "no p-value"
    sentence = (
        f"{len(failing)} of {len(tested)} strata are surely more than {settings.max_gap:.0%} worse; the worst: {said} "
        f"({adjusted})."
        if failing
        else f"None of {len(tested)} strata is surely more than {settings.max_gap:.0%} worse; the lowest: {said} "
        f"({adjusted})."
    )
    return {
        "passed": not failing,
        "sentence": sentence,
        **{key: gap[key] for key in ("value", "low", "high")},
        "limit": limit,
        "failing": [f"{entry['dimension']}: {entry['stratum']}" for entry in failing],
        "tested": len(tested),
    }


def gap_note(entry: Mapping[str, Any], settings: SubgroupSettings) -> str | None:
    """What the mix of classes does to a stratum's gap; None where both sides have nearly the same mix."""
    if entry["class_mix_distance"] < settings.class_mix_distance or not is_available(entry["gap"]):
        return None
    mixed = f"{entry['class_mix_distance']:.0%} of the films would have to change class for both sides to have one mix"
    plain, standard = entry["gap"], entry["standardised_gap"]
    if not is_available(standard):
        return f"{mixed}; what the classes make of the gap cannot be told: {standard['reason']}."
    return f"{mixed}: the gap of {points(plain['value'])} is {points(standard['value'])} at the same mix."


def subgroup_claims(report: Mapping[str, Any], settings: SubgroupSettings) -> list[dict[str, Any]]:
    """Claims of report 6.3 beside what is measured here.

    Args:
        report: the subgroup report without its claims.
        settings: the limit.

    Returns:
        For each ``claim`` its ``section``, the sentence ``measured``, and ``holds``, None where these films cannot
        tell.
    """
    return [_resolution(report["strata"], settings), _imbalance(report["class_imbalance"]), *_crops(report, settings)]


def points(value: float) -> str:
    """A difference of shares in percentage points, signed."""
    return f"{100 * value:+.1f} points"


def span(entry: Mapping[str, Any]) -> str:
    """The interval of a difference, in points; empty where it has none."""
    if entry["low"] is None:
        return "(no interval)"
    return f"({100 * entry['low']:+.1f} to {100 * entry['high']:+.1f})"


def _claim(claim: str, measured: str, holds: bool | None) -> dict[str, Any]:
    return {"section": "6.3", "claim": claim, "measured": measured, "holds": holds}


def _within(entries: Sequence[Mapping[str, Any]], limit: float) -> bool | None:
    """Whether all differences are surely within the limit; False where one is surely beyond it, else None."""
    known = [(entry["low"], entry["high"]) for entry in entries if entry["low"] is not None]
    if any(low > limit or high < -limit for low, high in known):
        return False
    whole = bool(known) and len(known) == len(entries)
    return True if whole and all(-limit <= low and high <= limit for low, high in known) else None


def _resolution(strata: Sequence[Mapping[str, Any]], settings: SubgroupSettings) -> dict[str, Any]:
    claim = f"Performance varies by no more than ±{settings.max_gap:.0%} over resolutions."
    own = [entry for entry in strata if entry["dimension"] == "resolution"]
    known = [entry for entry in own if is_available(entry["standardised_gap"])]
    if not known:
        return _claim(claim, "Not available: no stratum of resolution can be compared with the rest.", None)
    widest = max(known, key=lambda entry: abs(entry["standardised_gap"]["value"]))
    gap = widest["standardised_gap"]
    measured = (
        f"{_named(widest)}: {points(gap['value'])} {span(gap)} against other resolutions at the same mix of classes; "
        f"{widest['largest_source']['share']:.0%} of these films are of {widest['largest_source']['name']}."
    )
    return _claim(claim, measured, _within([entry["standardised_gap"] for entry in own], settings.max_gap))


def _imbalance(balance: Mapping[str, Any]) -> dict[str, Any]:
    claim = "The class with the fewest films has the lowest recall."
    smallest, lowest = balance["smallest"], balance["lowest_recall"]
    if smallest is None or lowest is None:
        return _claim(claim, "Not available: two classes share the fewest films or the lowest recall.", None)
    few, low = balance["classes"][smallest], balance["classes"][lowest]
    share = few["lowest_recall_share"]
    measured = (
        f"{smallest} has the fewest training films ({few['training_films']:,}) and a recall of "
        f"{few['recall']['value']:.3f}; {lowest} has the lowest, {low['recall']['value']:.3f}"
    )
    if share is None:
        return _claim(claim, f"{measured}.", None)
    holds = True if share >= _SURE else False if share <= 1 - _SURE else None
    return _claim(claim, f"{measured}; {smallest} is lowest in {share:.0%} of the resamples.", holds)


def _crops(report: Mapping[str, Any], settings: SubgroupSettings) -> list[dict[str, Any]]:
    crops = report["crop_sensitivity"]
    if crops is None:
        return []
    claim = "Padding prevents crop issues: the model is robust to framing."
    changes = {name: entry["accuracy_change"] for name, entry in crops["conditions"].items()}
    largest = max(crops["conditions"], key=lambda name: crops["conditions"][name]["changed"]["value"])
    entry = crops["conditions"][largest]
    measured = (
        f"{largest}: {entry['changed']['value']:.1%} of the films change their class, accuracy changes by "
        f"{points(changes[largest]['value'])} {span(changes[largest])}."
    )
    return [_claim(claim, measured, _within(list(changes.values()), settings.max_gap))]


def _named(entry: Mapping[str, Any]) -> str:
    return f"{entry['dimension']} {entry['stratum']}"
