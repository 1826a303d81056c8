"""One condition against the clean films: the value of every distance beside both of its nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, is_available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL
from cxr_core.robustness.shift_distances import DISTANCES, mean_pairwise_cosine
from cxr_core.robustness.shift_halves import draw_halves, half_distances
from cxr_core.robustness.shift_null import Plan, Swapped, swap_tests
from cxr_core.robustness.shift_pair import Cloud, Pair
from cxr_core.settings_stress import ShiftSettings

__all__ = ["Measured"]

Floats = npt.NDArray[np.float64]

_CONTROL_SPLITS = 40  # fresh halves against the interval of the null: one is above it by chance, and one below


class Measured:
    """The clean films with their nulls, and any condition against them.

    Args:
        clean: embeddings of n films.
        plan: exchanges, halves and folds of the same films.
        width: of the Gaussian kernel, > 0.
        settings: how many halves a condition is measured on, and the folds.

    Attributes:
        halves: each name in :data:`~cxr_core.robustness.shift_distances.DISTANCES` to its null between halves of the
            clean films, mean and interval.
    """

    def __init__(self, clean: Cloud, plan: Plan, width: float, settings: ShiftSettings) -> None:
        self.clean, self.plan, self.width, self._settings = clean, plan, width, settings
        found = self._halved(self.clean, plan.halves)
        self._sizes = [int(np.median(side.sum(axis=1))) for side in (plan.halves, ~plan.halves)]
        self.halves = {
            name: _spread(found[name], splits=len(plan.halves), films=self._sizes)
            if name in found
            else unavailable(_no_direction(clean.norms))
            for name in DISTANCES
        }

    def _halved(self, other: Cloud, halves: npt.NDArray[np.bool_]) -> dict[str, Floats]:
        return half_distances(Pair.of(self.clean, other, self.width), halves, self.plan.codes, self._settings.folds)

    def condition(self, embeddings: Floats) -> dict[str, Any]:
        """Every distance of films (n, d) in a condition, or why there is none."""
        wrong = int((~np.isfinite(embeddings)).any(axis=1).sum())
        if wrong:
            return {name: unavailable(f"{wrong} films have embeddings that are no numbers") for name in DISTANCES}
        other = Cloud.of(embeddings, self.clean.raw.mean(axis=0))
        pair = Pair.of(self.clean, other, self.width)
        tested = swap_tests(pair, self.plan)
        matched = self._halved(other, self.plan.halves[: self._settings.matched_halves])
        found: dict[str, Any] = {}
        for name in DISTANCES:
            if name not in matched:
                found[name] = unavailable(_no_direction(np.concatenate([self.clean.norms, other.norms])))
                continue
            more: dict[str, Any] = {"other_films": self._beyond(name, matched[name])}
            if name == "cosine":
                why = unavailable("the distance between two versions of a film is the same when they are exchanged")
                found[name] = available(mean_pairwise_cosine(self.clean.raw, embeddings), exchange=why, **more)
            else:
                found[name] = _entry(tested[name], **more)
        found["norm_shift"]["relative"] = found["norm_shift"]["value"] / float(self.clean.norms.mean())
        return found

    def _beyond(self, name: str, values: Floats) -> dict[str, Any]:
        null, entry = self.halves[name], _spread(values, splits=len(values), films=self._sizes)
        if not (is_available(null) and is_available(entry)):
            return entry
        outside = _outside(name, np.append(values, entry["value"]), null)
        return {**entry, "beyond": bool(outside[-1]), "share_beyond": float(outside[:-1].mean())}

    def controls(self) -> dict[str, Any]:
        """Clean against clean: the same films again, and fresh halves against the interval of the null."""
        again = self.condition(self.clean.raw.copy())
        halves = draw_halves(self.plan.codes, np.random.default_rng([self._settings.seed, 1]), _CONTROL_SPLITS)
        fresh = self._halved(self.clean, halves)
        found: dict[str, Any] = {}
        for name in DISTANCES:
            null = self.halves[name]
            if not is_available(null):
                found[name] = unavailable(null["reason"])
                continue
            outside = int(_outside(name, fresh[name], null).sum())
            found[name] = available(
                again[name]["value"], p=again[name].get("p"), fresh_halves=_CONTROL_SPLITS, fresh_halves_beyond=outside
            )
        return found


def _outside(name: str, values: Floats, null: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Which values lie above the interval of a null, or on either side of it where both count."""
    below = values < null["low"] if DISTANCES[name].two_sided else np.zeros(len(values), np.bool_)
    return (values > null["high"]) | below


def _no_direction(norms: Floats) -> str:
    return f"{int((norms == 0).sum())} embeddings are zero and have no direction"


def _spread(values: Floats, **more: Any) -> dict[str, Any]:
    """Mean of a null with the interval that holds the middle of its values."""
    known = values[np.isfinite(values)]
    if not len(known):
        return unavailable("no fold holds films of both halves", **more)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return available(float(known.mean()), low, high, **more)


def _entry(tested: Swapped, **more: Any) -> dict[str, Any]:
    return available(
        tested.value,
        p=tested.p,
        p_exact=tested.exact,
        exchange=_spread(tested.null, exchanges=len(tested.null)),
        **more,
    )
