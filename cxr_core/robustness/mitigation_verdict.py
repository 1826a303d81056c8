"""Verdict on each measure by one rule from its numbers: worth it, a trade, not to be told from none, or harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxr_core.evaluation.availability import is_available
from cxr_core.trust.subgroup_multiplicity import holm

__all__ = ["ALPHA", "OUTCOMES", "conclusion", "judged"]

ALPHA = 0.05  # of the family of measures, after Holm

OUTCOMES: Mapping[str, str] = {
    "worth_it": "worth it",
    "trade": "a trade",
    "not_told": "not to be told from none",
    "harms": "harms",
    "not_available": "not available",
}

_SCORES = {"accuracy": "accuracy", "log_loss": "log loss", "macro_auc": "macro AUC"}


def judged(measures: Mapping[str, Mapping[str, Any]], score: str, conditions: int) -> dict[str, dict[str, Any]]:
    """Verdict on each measure by one score; p-values are adjusted over the measures (Holm).

    A measure is ``worth_it`` where its mean gain over the corrupted conditions is positive beyond chance and the clean
    films do not lose beyond chance, a ``trade`` where they do, ``harms`` where the mean gain is negative beyond chance,
    or the clean films lose beyond chance for no gain, and otherwise ``not_told`` from none.

    Args:
        measures: name to ``title``, ``against`` (title of what it is compared with), ``gain`` (mean over the corrupted
            conditions) and ``clean``, both with value, low, high and p_value; and ``cost``, a sentence or nothing.
        score: that the gains are of.
        conditions: corrupted ones.

    Returns:
        Name to ``outcome``, ``sentence``, ``score``, ``gain``, ``clean``; the last two with ``p_holm``.
    """
    sides = {side: _adjusted([entry[side] for entry in measures.values()]) for side in ("gain", "clean")}
    found: dict[str, dict[str, Any]] = {}
    for (name, entry), gain, clean in zip(measures.items(), sides["gain"], sides["clean"], strict=True):
        outcome = _outcome(gain, clean)
        found[name] = {
            "outcome": outcome,
            "score": score,
            "gain": gain,
            "clean": clean,
            "sentence": _sentence(entry, gain, clean, outcome, score, conditions),
        }
    return found


def conclusion(verdicts: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """The verdicts in one line: which measures had which outcome."""
    parts = []
    for outcome, said in OUTCOMES.items():
        named = [titles[name] for name, verdict in verdicts.items() if verdict["outcome"] == outcome]
        parts += [f"{said}: {', '.join(named)}"] if named else []
    return f"Judged by mean accuracy over the corrupted conditions, {'; '.join(parts)}."


def _adjusted(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The entries with ``p_holm`` beside them; None where there is no p-value."""
    adjusted = holm(np.array([_p(entry) for entry in entries], np.float64)).tolist()
    return [{**entry, "p_holm": None if np.isnan(p) else p} for entry, p in zip(entries, adjusted, strict=True)]


def _outcome(gain: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    if gain["p_holm"] is None:
        return "not_available"
    loses = _told(clean) and clean["value"] < 0
    if _told(gain) and gain["value"] > 0:
        return "trade" if loses else "worth_it"
    return "harms" if loses or (_told(gain) and gain["value"] < 0) else "not_told"


def _told(entry: Mapping[str, Any]) -> bool:
    return entry["p_holm"] is not None and entry["p_holm"] <= ALPHA


def _sentence(
    entry: Mapping[str, Any],
    gain: Mapping[str, Any],
    clean: Mapping[str, Any],
    outcome: str,
    score: str,
    conditions: int,
) -> str:
    title = _capital(entry["title"])
    if outcome == "not_available":
        return f"{title}: not available, {gain.get('reason', 'no interval')}."
    said = (
        f"{title}: {OUTCOMES[outcome]}. Against {entry['against']}, {_SCORES.get(score, score)} is {_change(gain)} on "
        f"average over {conditions} corrupted condition{'' if conditions == 1 else 's'}, and {_change(clean)} on clean "
        "films; p-values after Holm over the measures."
    )
    return f"{said} {entry['cost']}" if entry.get("cost") else said


def _change(entry: Mapping[str, Any]) -> str:
    """A gain in words: its size, its interval in terms of gain, its p-value."""
    if not is_available(entry):
        return f"not available ({entry.get('reason', 'no value')})"
    value = entry["value"]
    way = f"{'better' if value > 0 else 'worse'} by {abs(value):.3f}" if value else "the same"
    if entry["low"] is None:
        return f"{way} (no interval)"
    return f"{way} (gain {entry['low']:+.3f} to {entry['high']:+.3f}, p {entry['p_holm']:.3g})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _p(entry: Mapping[str, Any]) -> float:
    p = entry.get("p_value")
    return float("nan") if p is None else float(p)
