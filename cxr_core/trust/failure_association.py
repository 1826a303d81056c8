"""What wrong films have in common: quality numbers, flags and sources against errors, class by class (report 6.2).

Films are compared with films of their own class alone, since quality and source go with the class (TRAPS 1) and classes
differ in how often they are missed. Numbers: rank-biserial correlation within classes, the share of pairs (wrong,
right) in which the wrong film has the larger value minus the share in which the right one has (Somers' D; van Elteren's
sum over strata). Flags and sources: odds ratio of Mantel and Haenszel (JNCI 1959) over the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.evaluation.bootstrap import LEVEL, percentile_interval, resample_weights
from cxr_core.evaluation.metrics import named_sources
from cxr_core.evaluation.weighted import Ranking
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.subgroup_multiplicity import benjamini_hochberg, holm
from cxr_core.trust.subgroup_permutation import group_test

__all__ = ["NUMBERS", "Covariate", "associations", "covariates_of"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NUMBERS: Mapping[str, str] = {  # column of the image index to its title
    "mean": "mean grey level",
    "std": "contrast (standard deviation of grey)",
    "longest_side": "longest side",
    "aspect": "width / height",
    "sharpness": "sharpness",
    "edge_density": "edge density",
    "tint": "colour tint",
    "dark_share": "share of dark pixels",
    "bright_share": "share of bright pixels",
}


@dataclass(frozen=True)
class Covariate:
    """One thing that errors may go with.

    Attributes:
        name, title: for a machine and for a person.
        kind: ``number``, ``flag`` or ``source``.
        values: (n,) float64; 0 or 1 for flags and sources; NaN where it is not known.
    """

    name: str
    title: str
    kind: str
    values: npt.NDArray[np.floating]


def covariates_of(films: pd.DataFrame) -> list[Covariate]:
    """Covariates of films: every number of :data:`NUMBERS` that varies, every flag and source that occurs.

    Args:
        films: rows of :func:`cxr_core.trust.subgroup_strata.index_rows`.
    """
    sides = films[["width", "height"]].astype("Float64")
    derived = films.assign(longest_side=sides.max(axis=1), aspect=sides["width"] / sides["height"])
    found: list[Covariate] = []
    for name, title in NUMBERS.items():
        values = derived[name].astype("Float64").to_numpy(np.float64, na_value=np.nan)
        if len(np.unique(values[~np.isnan(values)])) > 1:
            found.append(Covariate(name, title, "number", values))
    flags = films["flags"].fillna("").astype(str).str.split(",")
    for flag in sorted({code for codes in flags for code in codes if code}):
        values = np.array([flag in codes for codes in flags]).astype(np.float64)
        found.append(Covariate(flag, f"flag {flag.replace('_', ' ')}", "flag", values))
    sources = named_sources(films["source"]).to_numpy(object)
    for source in sorted(set(sources.tolist())):
        found.append(Covariate(source, f"source {source}", "source", np.asarray(sources == source).astype(np.float64)))
    return found


def associations(
    outcomes: Mapping[str, tuple[Mask, Mask]],
    covariates: Sequence[Covariate],
    labels: npt.NDArray[np.integer],
    groups: npt.NDArray[np.object_],
    settings: SubgroupSettings,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """Association of each kind of error with each covariate; all of them are one family.

    Args:
        outcomes: kind of error to (n,) films that may have it and (n,) films that have it.
        covariates: of the n films.
        labels: (n,) class indices.
        groups: n group names.
        settings: smallest sizes, permutations.
        seed, resamples: of bootstrap and permutations over groups.

    Returns:
        For each pair ``outcome``, ``covariate``, ``title``, ``kind``, ``measure`` (``rank_biserial``, -1 to 1, or
        ``odds_ratio``), ``value``, ``low``, ``high`` (an odds ratio without an upper end has None), ``p`` (two-sided),
        ``holm``, ``q``, ``test``, ``wrong`` and ``right`` films; or ``reason``.
    """
    rows: list[dict[str, Any]] = []
    for outcome, (asked, hit) in outcomes.items():
        prepared = [
            _Pair(covariate, asked & ~np.isnan(covariate.values), hit, labels, settings.min_class_films)
            for covariate in covariates
        ]
        tested = [pair for pair in prepared if not pair.reason]
        found: dict[int, tuple[float, str]] = {}
        if tested:
            weights = np.stack([pair.coefficients[asked] for pair in tested], axis=1)
            p, how = group_test(
                hit[asked].astype(np.float64), weights, groups[asked], labels[asked], seed, settings.permutations
            )
            found = {id(pair): (float(value), test) for pair, value, test in zip(tested, p, how, strict=True)}
        for pair in prepared:
            p_value, test = found.get(id(pair), (np.nan, ""))
            rows.append({"outcome": outcome, **pair.describe(groups, seed, resamples), "p": p_value, "test": test})
    p_all = np.array([row["p"] for row in rows], np.float64)
    for row, h, q in zip(rows, holm(p_all), benjamini_hochberg(p_all), strict=True):
        none = np.isnan(row["p"])
        row.update(p=None if none else row["p"], holm=None if none else float(h), q=None if none else float(q))
        row["test"] = row["test"] or None
    return rows


class _Pair:
    """One kind of error and one covariate, over the films where both are known."""

    def __init__(
        self, covariate: Covariate, known: Mask, hit: Mask, labels: npt.NDArray[np.integer], least: int
    ) -> None:
        self._covariate, self._rows, self._labels = covariate, np.flatnonzero(known), labels[known]
        self._x, self._wrong = covariate.values[known], hit[known]
        self.wrong, self.right = int(self._wrong.sum()), int((~self._wrong).sum())
        self.reason = self._why_not(least)
        self.coefficients: Floats = np.zeros(len(hit))
        if not self.reason:
            self.coefficients[self._rows] = self._centred()

    def _why_not(self, least: int) -> str:
        if min(self.wrong, self.right) < least:
            return f"{self.wrong} films are wrong and {self.right} right, fewer than {least} on one side"
        if self._covariate.kind != "number":
            there = int(self._x.sum())
            if min(there, len(self._x) - there) < least:
                return f"{there} of {len(self._x)} films are of it, fewer than {least} on one side"
        mixed = [self._labels == label for label in np.unique(self._labels)]
        if not any(np.ptp(self._x[own]) > 0 and 0 < self._wrong[own].sum() < own.sum() for own in mixed):
            return "no class has both wrong and right films with different values"
        return ""

    def _centred(self) -> Floats:
        """What makes the statistic linear in the errors: values (ranks of numbers) less the mean of their class."""
        from scipy.stats import rankdata

        result = np.zeros(len(self._x))
        for label in np.unique(self._labels):
            own = self._labels == label
            values = rankdata(self._x[own]) if self._covariate.kind == "number" else self._x[own]
            result[own] = values - values.mean()
        return result

    def describe(self, groups: npt.NDArray[np.object_], seed: int, resamples: int) -> dict[str, Any]:
        about = {
            "covariate": self._covariate.name,
            "title": self._covariate.title,
            "kind": self._covariate.kind,
            "measure": "rank_biserial" if self._covariate.kind == "number" else "odds_ratio",
            "wrong": self.wrong,
            "right": self.right,
        }
        if self.reason:
            return {**about, **unavailable(self.reason)}
        measure = self._rank_biserial() if self._covariate.kind == "number" else self._odds_ratio()
        value = float(measure(np.ones((1, len(self._x))))[0])
        drawn = np.concatenate([measure(w) for w in resample_weights(groups[self._rows], seed, resamples)])
        if self._covariate.kind == "number":
            interval = percentile_interval(drawn)
            low, high = (interval["low"], interval["high"]) if interval else (None, None)
        else:
            low, high = _ends(drawn)
        return {**about, **available(value, low, high)}

    def _rank_biserial(self) -> Callable[[Floats], Floats]:
        parts = [
            (own, self._wrong[own].astype(np.float64), Ranking(self._wrong[own], self._x[own]))
            for own in (self._labels == label for label in np.unique(self._labels))
        ]

        def measure(weights: Floats) -> Floats:
            above, pairs = np.zeros(len(weights)), np.zeros(len(weights))
            for own, wrong, ranking in parts:
                mine = np.ascontiguousarray(weights[:, own])
                count = (mine @ wrong) * (mine @ (1 - wrong))
                above += np.where(count > 0, count * np.nan_to_num(2 * ranking.auc(mine) - 1), 0)
                pairs += count
            return np.divide(above, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)

        return measure

    def _odds_ratio(self) -> Callable[[Floats], Floats]:
        wrong = self._wrong.astype(np.float64)
        cells = [
            np.stack([self._x * wrong, self._x * (1 - wrong), (1 - self._x) * wrong, (1 - self._x) * (1 - wrong)], 1)
            * (self._labels == label)[:, None]
            for label in np.unique(self._labels)
        ]

        def measure(weights: Floats) -> Floats:
            above, below = np.zeros(len(weights)), np.zeros(len(weights))
            for cell in cells:
                a, b, c, d = (weights @ cell).T
                films = np.maximum(a + b + c + d, 1)
                above, below = above + a * d / films, below + b * c / films
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio: Floats = above / below  # infinite, or NaN for 0 / 0: the ends of the interval say so
            return ratio

        return measure


def _ends(ratios: Floats) -> tuple[float | None, float | None]:
    """Ends of an interval of ratios that may be infinite: an end that is has none."""
    known = ratios[~np.isnan(ratios)]
    if 2 * len(known) < len(ratios) or known.min() == known.max():
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf").tolist()
    return (low if np.isfinite(low) else None), (high if np.isfinite(high) else None)
