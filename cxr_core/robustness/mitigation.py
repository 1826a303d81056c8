"""The report on mitigation: what each measure buys and costs under each condition (report 5.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core import NOTICE
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import is_available
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.robustness.corruptions import CLEAN
from cxr_core.robustness.mitigation_abstention import abstention_report
from cxr_core.robustness.mitigation_arms import PLAIN, Arm
from cxr_core.robustness.mitigation_conditions import Trial
from cxr_core.robustness.mitigation_gains import DIRECTIONS, Gains
from cxr_core.robustness.mitigation_verdict import conclusion, judged

__all__ = ["ABSTENTION", "REPORT_FILE", "gains_table", "mitigation_report"]

REPORT_FILE = "mitigation.json"
ABSTENTION = "abstention"
_JUDGED = ("accuracy", "log_loss")  # scores that have a verdict; accuracy's stands first

Floats = npt.NDArray[np.float64]


def mitigation_report(
    labels: npt.NDArray[np.integer],
    groups: Sequence[str],
    names: Sequence[str],
    arms: Sequence[Arm],
    trials: Sequence[Trial],
    probabilities: Mapping[str, Mapping[str, Floats]],
    threshold: float,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Compare every arm with the unmitigated model, and an arm that has a twin with that.

    Args:
        labels: (n,) class indices.
        groups: n patient groups.
        names: k class names.
        arms: the unmitigated model first.
        trials: the conditions, clean first.
        probabilities: condition to arm to calibrated probabilities (n, k).
        threshold: confidence below which abstention leaves a film to a human.
        seed, resamples: of the bootstrap.

    Returns:
        JSON-ready: ``films``, ``groups``, ``level``, ``resamples``, ``seed``; ``conditions``: name to ``steps`` and
        ``held_out``; ``arms``: name to ``title``, ``passes_per_film``, ``against``, ``conditions`` (name to ``scores``
        and, but for the unmitigated model, ``gain``), ``mean`` (gains over it: ``corrupted``, ``drawn``, ``held_out``
        conditions, counted alike) and, with a twin, ``over_twin`` (``clean`` and the same means), ``verdicts`` (by
        score); ``abstention``, see :func:`~cxr_core.robustness.mitigation_abstention.abstention_report`, with
        ``verdict``; ``conclusion``.

    Raises:
        CxrError: no films, groups that do not match, or a clean condition that does not come first.
    """
    if not len(labels) or len(groups) != len(labels):
        raise CxrError(f"{len(labels)} films and {len(groups)} groups do not match: pass the test split.")
    if not trials or trials[0].preset != CLEAN:
        raise CxrError("The clean condition comes first: what a measure costs there is part of its price.")
    gains = Gains(labels, groups, names, probabilities, seed, resamples)
    corrupted = [trial.name for trial in trials[1:]]
    kinds = {
        "corrupted": corrupted,
        "drawn": [trial.name for trial in trials[1:] if not trial.held_out],
        "held_out": [trial.name for trial in trials[1:] if trial.held_out],
    }
    report: dict[str, Any] = {}
    for arm in arms:
        said: dict[str, Any] = {"title": arm.title, "passes_per_film": arm.passes, "against": arm.against}
        said["conditions"] = {trial.name: {"scores": gains.scores(trial.name, arm.name)} for trial in trials}
        if arm.name != PLAIN:
            for trial in trials:
                said["conditions"][trial.name]["gain"] = gains.gain([trial.name], arm.name, PLAIN)
            said["mean"] = {kind: gains.gain(chosen, arm.name, PLAIN) for kind, chosen in kinds.items()}
        if arm.against != PLAIN:
            twin = {kind: gains.gain(chosen, arm.name, arm.against) for kind, chosen in kinds.items()}
            each = {trial.name: gains.gain([trial.name], arm.name, arm.against) for trial in trials}
            said["over_twin"] = {CLEAN.name: each[CLEAN.name], **twin, "conditions": each}
        report[arm.name] = said
    plain = {trial.name: probabilities[trial.name][PLAIN] for trial in trials}
    abstention = abstention_report(labels, groups, names, plain, threshold, seed, resamples)
    verdicts = _verdicts(report, abstention, len(corrupted))
    for name, found in verdicts.items():
        if name == ABSTENTION:
            abstention["verdict"] = found["accuracy"]
        else:
            report[name]["verdicts"] = found
    titles = {name: entry["title"] for name, entry in report.items()} | {ABSTENTION: _title(threshold)}
    return {
        "notice": NOTICE,
        "films": len(labels),
        "groups": len(set(groups)),
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "conditions": {t.name: {"steps": t.preset.describe(), "held_out": t.held_out} for t in trials},
        "arms": report,
        "abstention": abstention,
        "conclusion": conclusion({name: found["accuracy"] for name, found in verdicts.items()}, titles),
    }


def gains_table(report: Mapping[str, Any]) -> pd.DataFrame:
    """Every gain of a report, one row an arm, condition and score; means over conditions are conditions too."""
    rows = []
    for name, arm in report["arms"].items():
        if name == PLAIN:
            continue
        sides = {PLAIN: {**{c: e["gain"] for c, e in arm["conditions"].items()}, **_means(arm["mean"])}}
        if "over_twin" in arm:
            sides[arm["against"]] = {**arm["over_twin"]["conditions"], **_means(arm["over_twin"])}
        for against, conditions in sides.items():
            for condition, gain in conditions.items():
                for score in DIRECTIONS:
                    entry = gain[score]
                    numbers = {key: entry.get(key) for key in ("value", "low", "high", "p_value")}
                    rows.append(
                        {"arm": name, "against": against, "condition": condition, "score": score}
                        | {key: np.nan if number is None else float(number) for key, number in numbers.items()}
                        | {"passes_per_film": arm["passes_per_film"], "reason": entry.get("reason", "")}
                    )
    return pd.DataFrame(rows)


def _means(found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"mean of {kind.replace('_', ' ')}": found[kind] for kind in ("corrupted", "drawn", "held_out")}


def _verdicts(
    arms: Mapping[str, Mapping[str, Any]], abstention: Mapping[str, Any], conditions: int
) -> dict[str, dict[str, Any]]:
    """Verdict on each measure by each judged score; abstention has one by accuracy."""
    found: dict[str, dict[str, Any]] = {}
    for score in _JUDGED:
        measures: dict[str, dict[str, Any]] = {}
        for name, arm in arms.items():
            if name == PLAIN:
                continue
            over = arm.get("over_twin")
            measures[name] = {
                "title": arm["title"],
                "against": arms[arm["against"]]["title"],
                "gain": (over or arm["mean"])["corrupted"][score],
                "clean": (over[CLEAN.name] if over else arm["conditions"][CLEAN.name]["gain"])[score],
            }
        if score == "accuracy":
            measures[ABSTENTION] = {
                "title": _title(abstention["threshold"]),
                "against": "an answer to every film",
                "gain": abstention["mean"]["gained"],
                "clean": abstention["conditions"][CLEAN.name]["below_threshold"]["gained"],
                "cost": _cost(abstention),
            }
        for name, verdict in judged(measures, score, conditions).items():
            found.setdefault(name, {})[score] = verdict
    return found


def _title(threshold: float) -> str:
    return f"abstention below a confidence of {threshold:g}"


def _cost(abstention: Mapping[str, Any]) -> str:
    clean = abstention["conditions"][CLEAN.name]["below_threshold"]["coverage"]
    corrupted = abstention["mean"]["coverage"]
    if not (is_available(clean) and is_available(corrupted)):
        return ""
    return (
        f"It answers {clean['value']:.1%} of the clean films and on average {corrupted['value']:.1%} of the corrupted "
        "ones; the others go to a human."
    )
