"""Strata of films, read from the image index: no stratum is made from what the model says (report 6.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.evaluation.metrics import named_sources

__all__ = ["DIMENSIONS", "Dimension", "Stratum", "index_rows", "strata_of"]

Mask = npt.NDArray[np.bool_]

_PARTS = 3  # the report names no strata of resolution (6.3): tertiles, the finest that leaves a third of the films each


@dataclass(frozen=True)
class Dimension:
    """One way to divide films.

    Attributes:
        name: stable machine name.
        title: for a person.
        values: rows of the image index to one value a film: text, or a number to be cut at tertiles.
        unit: of the numbers, with a leading space; unused for text.
        digits: of the cut points in the strata's names.
    """

    name: str
    title: str
    values: Callable[[pd.DataFrame], pd.Series]
    unit: str = ""
    digits: int = 0


@dataclass(frozen=True)
class Stratum:
    """Some of the films of one dimension.

    Attributes:
        dimension: name of the dimension.
        name: of the stratum.
        member: (n,) films in it.
        known: (n,) films whose value of the dimension is known; the rest of the stratum is ``known & ~member``.
    """

    dimension: str
    name: str
    member: Mask
    known: Mask


def _longest(films: pd.DataFrame) -> pd.Series:
    return films[["width", "height"]].astype("Float64").max(axis=1)


def _exposure(films: pd.DataFrame) -> pd.Series:
    flags = films["flags"].fillna("").astype(str).str.split(",")
    under, over = (flags.map(lambda codes, code=code: code in codes) for code in ("under_exposed", "over_exposed"))
    named = np.select([under, over], ["under-exposed", "over-exposed"], "normal")
    return pd.Series(named, index=films.index).where(films["mean"].notna())


def _repeated(films: pd.DataFrame) -> pd.Series:
    return films["films_of_group"].map(lambda count: "one film" if count == 1 else "several films")


DIMENSIONS: tuple[Dimension, ...] = (
    Dimension("resolution", "longest side", _longest, " px"),
    Dimension("source", "source", lambda films: named_sources(films["source"])),
    Dimension("exposure", "exposure by the quality rules", _exposure),
    Dimension("mean_grey", "mean grey level", lambda films: films["mean"], "", 0),
    Dimension("aspect", "width / height", lambda films: films["width"].astype("Float64") / films["height"], "", 2),
    Dimension("sharpness", "sharpness (variance of the Laplacian)", lambda films: films["sharpness"], "", 0),
    Dimension("edge_density", "edge density (share of edge pixels)", lambda films: films["edge_density"], "", 3),
    Dimension("patient", "films of the patient", _repeated),
)


def index_rows(index: pd.DataFrame, image_ids: pd.Series) -> pd.DataFrame:
    """Accepted rows of the image index, in the order asked for, with ``films_of_group`` counted over all of them.

    Raises:
        CxrError: a film is not in the index.
    """
    accepted = index[index["status"] == "accepted"].drop_duplicates("image_id")
    counted = accepted.assign(films_of_group=accepted.groupby("group_id")["image_id"].transform("size"))
    found = counted.set_index("image_id").reindex(image_ids.to_numpy())
    lost = image_ids.to_numpy()[found["status"].isna().to_numpy()]
    if len(lost):
        raise CxrError(f"image_index has no accepted film {lost[0]}: materialise predictions again.")
    return found.rename_axis("image_id").reset_index()


def strata_of(films: pd.DataFrame, reference: pd.DataFrame) -> tuple[list[Stratum], dict[str, str]]:
    """Strata of every dimension.

    Args:
        films: rows of :func:`index_rows` that are judged.
        reference: rows of :func:`index_rows` that tertiles are taken from: films that are not judged, so that no
            border is fitted to what is tested.

    Returns:
        The strata with films in them, in the order of :data:`DIMENSIONS` and of their values; and for each dimension
        that divides nothing the reason why.
    """
    strata: list[Stratum] = []
    missing: dict[str, str] = {}
    for dimension in DIMENSIONS:
        values = dimension.values(films)
        codes: npt.NDArray[np.int64]
        known = values.notna().to_numpy(bool)
        if pd.api.types.is_numeric_dtype(values):
            codes, names = _cut(values, dimension.values(reference), dimension)
        else:
            names = sorted(values[known].unique().tolist())
            codes = np.array([names.index(value) if said else -1 for value, said in zip(values, known, strict=True)])
        places = [place for place in range(len(names)) if (codes == place).any()]
        if len(places) < 2:
            missing[dimension.name] = f"{dimension.title} divides no films: " + (
                f"all are {names[places[0]]}" if places else "none is known"
            )
            continue
        strata += [Stratum(dimension.name, names[place], codes == place, known) for place in places]
    return strata, missing


def _cut(values: pd.Series, reference: pd.Series, dimension: Dimension) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Place of each value among the tertiles of the reference (-1 unknown), and the names of the places."""
    fixed = reference.dropna().to_numpy(np.float64)
    numbers = values.astype("Float64").to_numpy(np.float64, na_value=np.nan)
    if not len(fixed):
        return np.full(len(numbers), -1), []
    shares = np.arange(1, _PARTS) / _PARTS
    edges = np.unique(
        np.quantile(fixed, shares, method="inverted_cdf")
    )  # values that occur, so that ties stay together
    codes = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="left"))
    said = [f"{edge:,.{dimension.digits}f}" for edge in edges]
    between = [f"{low} to {high}{dimension.unit}" for low, high in pairwise(said)]
    names = [f"up to {said[0]}{dimension.unit}", *between, f"above {said[-1]}{dimension.unit}"]
    return codes.astype(np.int64), names
