"""How closely the label hangs together with the source or a mark: Cramér's V with a null by permuting whole groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.availability import available, unavailable
from cxr_core.trust.shortcut_probes import permutation_p_value
from cxr_core.trust.subgroup_permutation import GroupPermutations

__all__ = ["association", "chi_squared", "contingency", "cramers_v"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer]

_LEVEL = 0.95  # of the null that is printed beside the value


def contingency(rows: Codes, columns: Codes, shape: tuple[int, int]) -> Floats:
    """Films of each pair of codes, (shape) float64."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def chi_squared(tables: Floats) -> Floats:
    """Pearson's statistic of tables (..., r, c), no continuity correction; empty rows and columns count nothing."""
    rows, columns = tables.sum(axis=-1, keepdims=True), tables.sum(axis=-2, keepdims=True)
    total = np.maximum(tables.sum(axis=(-1, -2), keepdims=True), 1)
    expected = rows * columns / total
    terms = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return np.asarray(terms.sum(axis=(-1, -2)), np.float64)


def cramers_v(tables: Floats) -> Floats:
    """Bias-corrected Cramér's V of tables (..., r, c), 0-1 (Bergsma, Journal of the Korean Statistical Society 2013).

    Rows and columns without films are left out. NaN where fewer than two rows or two columns are left.
    """
    r = (tables.sum(axis=-1) > 0).sum(axis=-1).astype(np.float64)
    c = (tables.sum(axis=-2) > 0).sum(axis=-1).astype(np.float64)
    n = tables.sum(axis=(-1, -2))
    spare = np.maximum(n - 1, 1)
    phi = np.maximum(0.0, chi_squared(tables) / np.maximum(n, 1) - (r - 1) * (c - 1) / spare)
    smaller = np.minimum(r - (r - 1) ** 2 / spare, c - (c - 1) ** 2 / spare) - 1
    defined = (r > 1) & (c > 1) & (smaller > 0)
    value = np.sqrt(np.divide(phi, smaller, out=np.zeros_like(phi), where=defined))
    return np.where(defined, np.minimum(value, 1.0), np.nan)


def association(
    rows: Codes,
    columns: Codes,
    shape: tuple[int, int],
    groups: Sequence[str] | npt.NDArray[np.object_],
    seed: int,
    permutations: int,
    reason: str,
) -> dict[str, Any]:
    """Cramér's V with the p-value of Pearson's statistic when whole groups of equal size exchange their rows' codes.

    Args:
        rows, columns: (n,) codes.
        shape: number of codes of each.
        groups: n group names.
        seed: of the permutations.
        permutations: how many; each film's row code moves with its group.
        reason: what to say where one side has a single value.

    Returns:
        ``value`` 0-1, ``p_value``, ``chi_squared``, ``null_high`` (95 % of the permutations stay below), ``films``,
        ``groups``; or why there is none.
    """
    table = contingency(rows, columns, shape)
    about = {"films": len(rows), "groups": len(np.unique(np.asarray(groups, dtype=str)))}
    value = float(cramers_v(table))
    if not np.isfinite(value):
        return unavailable(reason, **about)
    cells = rows.astype(np.int64) * shape[1]
    size = shape[0] * shape[1]
    null_chi, null_v = [], []
    plan = GroupPermutations(groups, np.zeros(len(rows), np.int64))
    for block in plan.shuffled(cells.astype(np.float64), seed, permutations):
        at = block.astype(np.int64) + columns + np.arange(len(block))[:, None] * size
        tables = np.bincount(at.ravel(), minlength=len(block) * size).reshape(-1, *shape).astype(np.float64)
        null_chi.append(chi_squared(tables))
        null_v.append(cramers_v(tables))
    statistic = float(chi_squared(table))
    # Sums in another order differ by rounding: a table like the observed one has to count as reaching it.
    p = permutation_p_value(statistic * (1 - 1e-9), np.concatenate(null_chi))
    high = float(np.quantile(np.concatenate(null_v), _LEVEL))
    return available(value, p_value=p, chi_squared=statistic, null_high=high, **about)
