"""Tables of embeddings, predictions and conditions as the versions of test films that the shift is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.evaluation.embeddings import EMBEDDING
from cxr_core.evaluation.metrics import logits_of
from cxr_core.robustness.shift import Version, draw_films
from cxr_core.settings_stress import ShiftSettings

__all__ = ["CleanFilms", "clean_films", "versions_in"]


@dataclass(frozen=True)
class CleanFilms:
    """The test films as they are, in the order of their names.

    Attributes:
        image_ids, groups: n names of each.
        drawn: rows whose embeddings are compared, ascending.
        version: embeddings of the drawn films, and which of all films are classified correctly.
    """

    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    drawn: npt.NDArray[np.intp]
    version: Version


def clean_films(embedded: pd.DataFrame, predictions: pd.DataFrame, classes: int, settings: ShiftSettings) -> CleanFilms:
    """The test films of a model.

    Args:
        embedded: the table of embeddings.
        predictions: the predictions table.
        classes: number of them.
        settings: how many films are drawn, and with which seed.

    Raises:
        CxrError: the tables hold other test films, or none.
    """
    said = predictions[predictions["split"] == "test"].sort_values("image_id")
    seen = embedded[embedded["split"] == "test"].sort_values("image_id")
    if said.empty:
        raise CxrError("The predictions table holds no test film: materialise predictions again.")
    if said["image_id"].tolist() != seen["image_id"].tolist():
        raise CxrError("The tables of embeddings and predictions hold other test films: materialise both again.")
    groups = tuple(seen["group_id"].astype(str))
    drawn = draw_films(groups, settings.max_films, settings.seed)
    version = Version(_embeddings(seen.iloc[drawn]), _correct(said, classes))
    return CleanFilms(tuple(seen["image_id"].astype(str)), groups, drawn, version)


def versions_in(conditions: pd.DataFrame, films: CleanFilms, classes: int) -> dict[str, Version]:
    """The same films in every condition of a table.

    Args:
        conditions: one or more partitions of robustness_conditions.
        films: the clean ones.
        classes: number of them.

    Returns:
        Condition to the films in it, conditions in their order in the table.

    Raises:
        CxrError: a condition that lacks a film, or has another.
    """
    found = {}
    for condition, rows in conditions.groupby("condition", sort=False):
        ordered = rows.sort_values("image_id")
        if ordered["image_id"].tolist() != list(films.image_ids):
            raise CxrError(
                f"Condition {condition} holds other films than the test split: materialise robustness_conditions again."
            )
        severity = int(ordered["severity"].iloc[0])
        corruption = str(condition).rsplit("-", 1)[0] if severity else str(condition)
        found[str(condition)] = Version(
            _embeddings(ordered.iloc[films.drawn]), _correct(ordered, classes), corruption, severity
        )
    return found


def _embeddings(rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    """(n, d) float32; what is no number stays, for the report to say so."""
    found: Sequence[npt.NDArray[np.float32]] = [np.asarray(row, np.float32) for row in rows[EMBEDDING]]
    if not found:
        return np.zeros((0, 0), np.float32)
    if len({row.shape for row in found}) > 1:
        raise CxrError("Embeddings of one table differ in length: materialise robustness_conditions again.")
    return np.stack(found)


def _correct(rows: pd.DataFrame, classes: int) -> npt.NDArray[np.bool_]:
    return np.asarray(logits_of(rows, classes).argmax(axis=1) == rows["label_index"].to_numpy(np.int64), np.bool_)
