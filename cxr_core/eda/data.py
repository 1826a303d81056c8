"""What the exploratory figures are built from, and the few groupings that they share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.errors import CxrError
from cxr_core.settings_sections import QualitySettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["UNKNOWN", "EdaData", "FigureSpec", "FramesOf", "jsonable", "one_v_rest_auc", "summary"]

FramesOf = Callable[[Sequence[str]], npt.NDArray[np.uint8]]
Built = tuple["Figure", dict[str, Any]]

UNKNOWN = "unknown"  # source of films for which none is recorded


@dataclass(frozen=True)
class EdaData:
    """Tables and frames of one data set.

    Attributes:
        index: one row a file, with the statistics; NaN statistics where a file could not be decoded.
        labels: class names in output order.
        quality: limits of the quality rules.
        seed: of every random choice.
        splits: one row an image with its split, for the figures that need it.
        frames_of: image identifiers to (n, side, side) uint8 canonical frames, for the figures that need them.
        samples_per_class: films of each class in the sample gallery.
    """

    index: pd.DataFrame
    labels: tuple[str, ...]
    quality: QualitySettings
    seed: int
    splits: pd.DataFrame | None = None
    frames_of: FramesOf | None = None
    samples_per_class: int = 5

    @property
    def accepted(self) -> pd.DataFrame:
        """Rows of the index that belong to the data set, in the index's order."""
        return self.index[self.index["status"] == "accepted"]

    def by_class(self, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """The given rows of each class, every class present, in label order."""
        return {label: rows[rows["label"] == label] for label in self.labels}

    def values_by_class(self, column: str) -> dict[str, npt.NDArray[np.float64]]:
        """Known values of a column over the accepted films of each class."""
        groups = self.by_class(self.accepted)
        return {label: rows[column].dropna().to_numpy(np.float64) for label, rows in groups.items()}

    def sources(self, rows: pd.DataFrame, most: int) -> pd.Series:
        """Source of each row as a category; a common name where none is known, and beyond the ``most`` commonest.

        The categories are in order of the number of rows, the rest last.
        """
        known = rows["source"].astype("object")
        names = known.where(known.notna() & (known != ""), UNKNOWN).astype(str)
        counts = names.value_counts()
        ordered = sorted(counts.index, key=lambda name: (-counts[name], name))
        if len(ordered) > most:
            ordered, rest = ordered[: most - 1], f"{len(ordered) - most + 1} others"
            names = names.where(names.isin(ordered), rest)
            ordered.append(rest)
        return names.astype(pd.CategoricalDtype(ordered))


@dataclass(frozen=True)
class FigureSpec:
    """One figure of the registry.

    Attributes:
        name: stable machine name.
        title: for a person.
        description: what is drawn and how the numbers are computed.
        needs_splits, needs_frames: which parts of :class:`EdaData` it reads beside the index.
        draw: see :meth:`build`.
    """

    name: str
    title: str
    description: str
    needs_splits: bool
    needs_frames: bool
    draw: Callable[[EdaData, str], Built]

    def build(self, data: EdaData) -> Built:
        """Draw the figure.

        Returns:
            The figure, and the numbers in it as JSON-ready values free of NaN.

        Raises:
            CxrError: a part that the figure needs is missing.
        """
        if self.needs_splits and data.splits is None:
            raise CxrError(f"Figure {self.name} needs the splits table: pass splits.")
        if self.needs_frames and data.frames_of is None:
            raise CxrError(f"Figure {self.name} needs canonical frames: pass frames_of.")
        figure, numbers = self.draw(data, self.title)
        return figure, jsonable(numbers)


def jsonable(value: Any) -> Any:
    """The value with NumPy numbers as Python ones, keys as text, and None for what is not finite."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def summary(values: npt.NDArray[np.float64]) -> dict[str, float | int | None]:
    """Count, mean, standard deviation (of the values, divisor n), extremes and quartiles; None where there are none."""
    if not len(values):
        return {"n": 0, **dict.fromkeys(("mean", "std", "min", "p25", "p50", "p75", "max"))}
    low, first, middle, third, high = np.percentile(values, [0, 25, 50, 75, 100]).tolist()
    moments = {"n": len(values), "mean": float(values.mean()), "std": float(values.std())}
    return {**moments, "min": low, "p25": first, "p50": middle, "p75": third, "max": high}


def one_v_rest_auc(groups: dict[str, npt.NDArray[np.float64]], label: str) -> float | None:
    """Chance that a film of ``label`` has a larger value than one of another class, ties counted half.

    The Mann-Whitney form of the area under the ROC curve (Hanley and McNeil, Radiology 1982). None where either side
    is empty.
    """
    from scipy.stats import rankdata

    inside = groups[label]
    outside = np.concatenate([values for name, values in groups.items() if name != label] or [np.empty(0)])
    if not len(inside) or not len(outside):
        return None
    ranks = rankdata(np.concatenate([inside, outside]))
    excess = ranks[: len(inside)].sum() - len(inside) * (len(inside) + 1) / 2
    return float(excess / (len(inside) * len(outside)))
