"""Figures of the film detector: how strange films and other pictures are, and what those pictures look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, gallery_tile, new_figure
from cxr_core.trust.chest_film import MEASURES
from cxr_core.trust.chest_film_record import ShareOfFilms
from cxr_core.trust.chest_film_report import Measured
from cxr_core.trust.other_pictures import TITLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pictures_figure", "strangeness_figure"]

_FILMS = "test films"
_SHOWN = 6  # pictures of a kind, spread from the least to the most strange
_LINEAR = 5.0  # strangeness up to which the axis is linear


def strangeness_figure(measured: Measured) -> Figure:
    """Every test film and every other picture by its strangeness, with the threshold and the share beyond it."""
    detector = measured.detector
    record = detector.record
    rows = {_FILMS: measured.test, **{TITLES[kind]: other.strangeness for kind, other in measured.others.items()}}
    shares: list[ShareOfFilms | None] = [record.false_rejection, *(record.detection.get(k) for k in measured.others)]
    figure, axes = new_figure(
        "Film detector: strangeness of films and of other pictures",
        size=(9, 0.42 * len(rows) + 2),
        note=f"Threshold from {record.calibration_films} calibration films: {record.rate:.1%} of chest films at most.",
    )
    axis = axes[0, 0]
    jitter = np.random.default_rng(0)
    for place, values in enumerate(rows.values()):
        height = place + jitter.uniform(-0.28, 0.28, len(values))
        axis.scatter(values, height, s=9, alpha=0.55, linewidths=0, color=OKABE_ITO[0] if place == 0 else OKABE_ITO[1])
    axis.axvline(detector.limit, color=ACCENT, linewidth=1.5)
    axis.set_xscale("symlog", linthresh=_LINEAR)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("strangeness: sum of the excesses over what one chest film in ten reaches")
    for place, share in enumerate(shares):
        if share is not None:
            text = f"{share.value:.1%} refused ({share.low:.1%} to {share.high:.1%})"
            axis.text(1.01, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=8, color=GREY)
    axis.grid(axis="x", alpha=0.3)
    return figure


def pictures_figure(measured: Measured) -> Figure:
    """Some pictures of each kind, from the least to the most strange, with score and leading measure of the kind."""
    kinds = list(measured.others)
    figure, axes = new_figure(
        "Film detector: pictures that it was tried on, with score and strangeness",
        size=(1.25 * _SHOWN + 1.9, 1.5 * len(kinds) + 0.8),
        rows=len(kinds),
        columns=_SHOWN,
        note=f"At or below {measured.detector.threshold:.4f} a picture is taken for no chest film; red: it was missed.",
    )
    for row, kind in zip(axes, kinds, strict=True):
        other = measured.others[kind]
        order = np.argsort(other.strangeness, kind="stable")
        shown = order[np.unique(np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int))]
        missed = measured.detector.is_chest(other.scores)
        for column, axis in enumerate(row):
            if column < len(shown):
                place = shown[column]
                colour = ACCENT if missed[place] else "black"
                caption = f"{other.scores[place]:.4f} ({other.strangeness[place]:.0f})"
                gallery_tile(axis, other.frames[place], caption, colour)
            else:
                gallery_tile(axis, None)
        leader = max(MEASURES, key=lambda name: other.leading[name])
        label = f"{TITLES[kind]}\n({leader}\nleads in {other.leading[leader]:.0%})"
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
    return figure
