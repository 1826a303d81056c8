"""What the trial of the maps comes to, in a verdict by rule and in sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_core.evaluation.availability import is_available
from cxr_core.explain.map_similarity import TITLES

__all__ = ["lung_attention", "sentences"]

_LIMIT = 0.0  # energy in the lungs above that of the centre map


def lung_attention(report: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the maps look outside the lungs more than a map that knows nothing.

    The rule: the share of the maps' energy that lies in the lungs, less that of a Gaussian at the centre of the frame,
    film by film; it fails where the upper end of the interval of its mean is below 0. Without an interval, of too few
    patients, the mean itself decides. A map that is the same everywhere would be no rival: coarse maps of a network
    that reads nothing but a marker in a corner have more energy in the lungs than that, as their cells reach in.
    Grad-CAM of the predicted class decides, over all classes; classes for which the rule alone would fail are named.

    Returns:
        ``passed``, ``sentence``, ``value``, ``low``, ``high``, ``limit``, ``flagged`` (classes), ``method``. Not passed
        where it could not be measured.
    """
    method = next(iter(report["methods"]))
    title = report["methods"][method]["title"]
    lungs = report["methods"][method]["regions"]["lungs"]
    found = lungs["against_centre"]["overall"]
    base = {"limit": _LIMIT, "method": method, "null": "centre", "rule": "upper end of the difference below 0 fails"}
    if not is_available(found):
        sentence = f"Whether {title} looks at the lungs was not measured: {found['reason']}."
        return {"passed": False, "sentence": sentence, "value": None, "low": None, "high": None, "flagged": [], **base}
    flagged = [name for name, entry in lungs["against_centre"]["per_class"].items() if _outside(entry)]
    passed = not _outside(found)
    energy, centre, area = (lungs[name]["overall"]["value"] for name in ("energy", "centre", "uniform"))
    judgement = "not surely less than" if passed else "surely less than"
    sentence = (
        f"{title} has {energy:.0%} of its energy in the lungs, which are {area:.0%} of the frame, a map of the centre "
        f"{centre:.0%}: a difference of {found['value']:+.3f}{_interval(found, '+.3f')} over {found['films']} films, "
        f"{judgement} 0."
    )
    if flagged:
        sentence += f" It looks outside them in films of {', '.join(flagged)}."
    numbers = {name: found[name] for name in ("value", "low", "high")}
    return {"passed": passed, "sentence": sentence, "flagged": flagged, **numbers, **base}


def sentences(report: Mapping[str, Any]) -> list[str]:
    """What was found, a sentence a finding; each number comes from the report."""
    said: list[str] = []
    for part in report["methods"].values():
        title = part["title"]
        for mode, good in (("deletion", -1), ("insertion", 1)):
            said += _perturbed(title, mode, good, part[mode])
        said += _cascade(title, part["randomisation"])
        said += _repeats(title, part["repeatability"])
        said += _lesions(title, part["regions"]["lesions"])
    same = report["agreement"].get("same_class", {}).get("overall")
    if is_available(same):
        said.append(
            f"The two trainings call {same['value']:.0%}{_interval(same, '.0%')} of {same['films']} films alike."
        )
    return said


def _outside(entry: Mapping[str, Any]) -> bool:
    if not is_available(entry):
        return False
    bound = entry["value"] if entry["high"] is None else entry["high"]
    return bool(bound < _LIMIT)


def _perturbed(title: str, mode: str, good: int, part: Mapping[str, Any]) -> list[str]:
    found = part["against_random"]["overall"]
    if not is_available(found):
        return [f"{title}: {mode} is not available: {found['reason']}."]
    own, random, centre = (part[name]["overall"]["value"] for name in ("map", "random", "centre"))
    return [
        f"{title}: the area under {mode} is {own:.3f}, of random maps {random:.3f}, of the centre map {centre:.3f}; "
        f"the difference from random maps is {found['value']:+.3f}{_interval(found, '+.3f')}: {_judged(found, good)}."
    ]


def _judged(entry: Mapping[str, Any], good: int) -> str:
    if entry["low"] is None:
        return "too few patients to tell"
    if entry["low"] <= 0 <= entry["high"]:
        return "not told from chance"
    return "better than chance" if entry["value"] * good > 0 else "worse than chance"


def _cascade(title: str, part: Mapping[str, Any]) -> list[str]:
    said = []
    for measure, found in part.get("measures", {}).items():
        entries = [entry["overall"] for entry in found["levels"]]
        if not is_available(entries[-1]):
            said.append(f"{title}: with all weights drawn anew no map is left to compare: {entries[-1]['reason']}.")
            continue
        high, last = found["null"]["high"], entries[-1]["value"]
        where = f"from {found['lost_at']} on" if found["lost_at"] else "at no level"
        said.append(
            f"{title}: with all weights drawn anew the {TITLES[measure]} with the trained network's maps is "
            f"{last:.2f}, of pairs of random maps up to {high:.2f}; it is within that {where}."
        )
    return said


def _repeats(title: str, part: Mapping[str, Any]) -> list[str]:
    said = []
    for measure, name in TITLES.items():
        found = part.get(measure, {}).get("difference", {}).get("overall")
        if is_available(found):
            same = part[measure]["same_film"]["overall"]["value"]
            other = part[measure]["other_films"]["overall"]["value"]
            said.append(
                f"{title}: the {name} of two trainings' maps is {same:.2f} for the same film and {other:.2f} for "
                f"different films, a difference of {found['value']:+.2f}{_interval(found, '+.2f')}."
            )
    return said


def _lesions(title: str, part: Mapping[str, Any]) -> list[str]:
    found = part.get("pointing", {}).get("map", {}).get("overall")
    if not is_available(found):
        return []
    chance = part["pointing"]["chance"]["overall"]["value"]
    overlap, by_chance = (part["iou"][name]["overall"]["value"] for name in ("map", "chance"))
    return [
        f"{title}: the maximum lies on a lesion in {found['value']:.0%}{_interval(found, '.0%')} of {found['films']} "
        f"films, by chance in {chance:.0%}; overlap {overlap:.2f}, by chance {by_chance:.2f}."
    ]


def _interval(entry: Mapping[str, Any], form: str) -> str:
    return "" if entry.get("low") is None else f" ({entry['low']:{form}} to {entry['high']:{form}})"
