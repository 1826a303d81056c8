"""One explanation method on trial: deletion, randomisation, a second seed, where its maps lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.evaluation.availability import unavailable
from cxr_core.evaluation.bootstrap import percentile_interval
from cxr_core.explain.deletion import MODES, Scorer, area_under, replacement_curves, score_ends, veils
from cxr_core.explain.faithfulness_films import ExplainedFilms
from cxr_core.explain.faithfulness_scores import Grouping, resampled_means
from cxr_core.explain.localisation import border_masks, energy, energy_report, lesion_report, padding_masks
from cxr_core.explain.reference_maps import BLANK, blank_maps, centre_map, random_maps
from cxr_core.settings_stress import FaithfulnessSettings

__all__ = ["MAPS", "NO_TRUTH", "Explain", "Rivals", "curve_table", "film_table", "perturbation", "regions", "rivals_of"]

Maps = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

MAPS = ("map", "random", "centre")
NO_TRUTH = "the truth of these films is not known: they are no phantoms"
_NO_LUNGS = "no lungs were found on any film"
_NO_PADDING = "no film has padding: all are square"


@dataclass(frozen=True)
class Rivals:
    """Curves that belong to the films and not to a method, so that they are drawn once.

    Attributes:
        ties: (n, side, side) random maps that decide among pixels of equal value.
        random: (r, n, side, side) random maps.
        ends: mode to (n, 2) scores of its first and last frames.
        curves: mode to name (``random``, ``centre``) to (n, steps + 1).
    """

    ties: Maps
    random: Maps
    ends: Mapping[str, Floats]
    curves: Mapping[str, Mapping[str, Floats]]

    def take(self, rows: npt.NDArray[np.intp]) -> Rivals:
        """Those of some of the films."""
        return Rivals(
            self.ties[rows],
            self.random[:, rows],
            {mode: ends[rows] for mode, ends in self.ends.items()},
            {mode: {name: curves[rows] for name, curves in own.items()} for mode, own in self.curves.items()},
        )


def rivals_of(films: ExplainedFilms, score: Scorer, settings: FaithfulnessSettings) -> Rivals:
    """Draw the random maps of films and follow them, and the centre map, through deletion and insertion."""
    side, seed = films.side, settings.seed
    ties = random_maps([f"ties {key}" for key in films.keys], side, seed)
    random = np.stack(
        [
            random_maps([f"random {place} {key}" for key in films.keys], side, seed)
            for place in range(settings.random_maps)
        ]
    )
    centre = np.broadcast_to(centre_map(side, settings.centre_width), films.frames.shape)
    veiled = veils(films.frames, settings.blur_share)
    ends, curves = {}, {}
    for mode in MODES:
        start, end = veiled.ends(mode, films.frames)
        ends[mode] = score_ends(score, start, end, films.predicted)

        def follow(maps: Maps, start: Any = start, end: Any = end, known: Floats = ends[mode]) -> Floats:
            return replacement_curves(score, start, end, maps, ties, films.predicted, settings.steps, known)

        curves[mode] = {"random": np.mean([follow(one) for one in random], axis=0), "centre": follow(centre)}
    return Rivals(ties, random, ends, curves)


def perturbation(
    films: ExplainedFilms, maps: Maps, rivals: Rivals, score: Scorer, by: Grouping, settings: FaithfulnessSettings
) -> tuple[dict[str, Any], dict[str, dict[str, Floats]]]:
    """Deletion and insertion areas of maps against those of random maps and of the centre map, film by film.

    Blank maps order nothing and do not count, nor do their films' rivals.

    Returns:
        Mode to ``map``, ``random``, ``centre``, ``against_random``, ``against_centre`` (paired; negative is good under
        deletion, positive under insertion); and mode to name to curves (n, steps + 1), NaN for blank maps.
    """
    blank = blank_maps(maps)
    veiled = veils(films.frames, settings.blur_share)
    report: dict[str, Any] = {}
    curves: dict[str, dict[str, Floats]] = {}
    for mode in MODES:
        start, end = veiled.ends(mode, films.frames)
        own = replacement_curves(
            score, start, end, maps, rivals.ties, films.predicted, settings.steps, rivals.ends[mode]
        )
        curves[mode] = {
            name: np.where(blank[:, None], np.nan, values)
            for name, values in {"map": own, **rivals.curves[mode]}.items()
        }
        areas = {name: area_under(values) for name, values in curves[mode].items()}
        report[mode] = {
            **{name: by.scores(values, BLANK) for name, values in areas.items()},
            **{f"against_{name}": by.scores(areas["map"] - areas[name], BLANK) for name in ("random", "centre")},
        }
    return report, curves


def regions(
    films: ExplainedFilms, maps: Maps, true_maps: Maps, rivals: Rivals, by: Grouping, settings: FaithfulnessSettings
) -> dict[str, Any]:
    """Energy of maps in the lungs, at the border and in the padding; lesions hit.

    Args:
        films: what is explained.
        maps: of the predicted classes.
        true_maps: of the true classes, by which lesions are looked for.
        rivals: holds the random maps.
        by: how films are averaged.
        settings: band, tolerance, centre.
    """
    side, width = films.side, settings.centre_width
    masks = {
        "lungs": (films.lungs, _NO_LUNGS),
        "border": (border_masks(films.boxes, side, settings.border_share), ""),
        "padding": (padding_masks(films.boxes, side), _NO_PADDING),
    }
    found: dict[str, Any] = {name: energy_report(maps, mask, by, width, why) for name, (mask, why) in masks.items()}
    found["true_lungs"] = (
        unavailable(NO_TRUTH)
        if films.true_lungs is None
        else energy_report(maps, films.true_lungs, by, width, NO_TRUTH)
    )
    found["lesions"] = (
        unavailable(NO_TRUTH)
        if films.lesions is None
        else lesion_report(
            true_maps, films.lesions, rivals.random, by, settings.tolerance, "no film of this kind has a lesion"
        )
    )
    return found


def curve_table(method: str, curves: Mapping[str, Mapping[str, Floats]], by: Grouping) -> pd.DataFrame:
    """Mean curves with their intervals over patient groups.

    Returns:
        Columns method, mode, map (of :data:`MAPS`), share (of pixels replaced), value, low, high; an end of an interval
        that is not available is NaN.
    """
    rows = []
    for mode, named in curves.items():
        for name, values in named.items():
            for step, column in enumerate(values.T):
                known = column[~np.isnan(column)]
                value = float(known.mean()) if len(known) else np.nan
                spread = resampled_means(column, by.groups, by.seed, by.resamples)
                interval = percentile_interval(spread) or {"low": np.nan, "high": np.nan}
                share = step / (values.shape[1] - 1)
                rows.append({"method": method, "mode": mode, "map": name, "share": share, "value": value, **interval})
    return pd.DataFrame(rows)


def film_table(
    method: str, films: ExplainedFilms, maps: Maps, curves: Mapping[str, Mapping[str, Floats]]
) -> pd.DataFrame:
    """One row a film: what its map was measured to be.

    Returns:
        Columns image_id, label_index, explained_index, method, blank, deletion, deletion_random, insertion,
        insertion_random (areas), lungs (energy), lungs_uniform (the lungs' share of the frame).
    """
    return pd.DataFrame(
        {
            "image_id": films.keys,
            "label_index": films.labels,
            "explained_index": films.predicted,
            "method": method,
            "blank": blank_maps(maps),
            **{
                f"{mode}{suffix}": area_under(curves[mode][name])
                for mode in MODES
                for name, suffix in (("map", ""), ("random", "_random"))
            },
            "lungs": energy(maps, films.lungs),
            "lungs_uniform": films.lungs.mean(axis=(1, 2)),
        }
    )


Explain = Callable[[str, Any, npt.NDArray[np.uint8], npt.NDArray[np.int64]], Maps]
