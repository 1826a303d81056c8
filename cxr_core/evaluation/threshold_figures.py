"""Threshold analysis: what each threshold on a class's probability gives (report figure 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.operating_points_record import OperatingPoints
from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, new_figure, sentence_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["judged_points_figure", "threshold_curves", "threshold_figure"]

Floats = npt.NDArray[np.float64]

_CURVES = ("sensitivity", "specificity", "precision", "f1")
_NAMES = {"f1": "F1"}
_LINES = ("--", ":", "-.")  # of the points of one class, in their order
_STEPS = 501  # thresholds drawn, .002 apart


def threshold_curves(scores: Floats, positive: npt.NDArray[np.bool_], thresholds: Floats) -> dict[str, Floats]:
    """Scores of flagging the films whose score is not below each threshold.

    Args:
        scores: (n,); positive: (n,) which films are of the class.
        thresholds: (t,).

    Returns:
        ``sensitivity``, ``specificity``, ``precision``, ``f1``, (t,) each; NaN where nothing is divided by.
    """
    inside, outside = np.sort(scores[positive]), np.sort(scores[~positive])
    right = len(inside) - np.searchsorted(inside, thresholds, side="left")
    wrong = len(outside) - np.searchsorted(outside, thresholds, side="left")
    return {
        "sensitivity": _ratio(right, np.full_like(right, len(inside))),
        "specificity": _ratio(len(outside) - wrong, np.full_like(wrong, len(outside))),
        "precision": _ratio(right, right + wrong),
        "f1": _ratio(2 * right, right + wrong + len(inside)) if len(inside) else np.full(len(thresholds), np.nan),
    }


def threshold_figure(
    probabilities: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    points: OperatingPoints,
    title: str = "Threshold analysis, validation films",
) -> Figure:
    """The curves of each class over its thresholds, with the operating points that were fixed on them.

    Args:
        probabilities: (n, k) calibrated, of the films that chose the points.
        labels: (n,) class indices.
        points: the operating points.
        title: over the figure.
    """
    names = points.labels
    note = f"{len(labels):,} films, which chose the thresholds: no measure of what they are worth."
    figure, axes = new_figure(title, size=(4.6 * len(names) + 0.6, 5.4), columns=len(names), note=note, sharey=True)
    thresholds = np.linspace(0, 1, _STEPS)
    for place, name in enumerate(names):
        axis, positive = axes[0, place], labels == place
        curves = threshold_curves(np.asarray(probabilities[:, place], np.float64), positive, thresholds)
        for colour, curve in zip(OKABE_ITO, _CURVES, strict=False):
            axis.plot(thresholds, curves[curve], color=colour, linewidth=1.8, label=_NAMES.get(curve, curve))
        chosen = [point for point in points.points if point.label_index == place and point.threshold is not None]
        for line, point in zip(_LINES * len(chosen), chosen, strict=False):
            label = f"{_short(point.name, point.target)}: {point.threshold:.3f}"
            axis.axvline(point.threshold, color=ACCENT, linestyle=line, linewidth=1.4, label=label)
        axis.set(xlabel="threshold on the probability", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axis.set_title(f"{name} ({int(positive.sum()):,} films)")
        axis.grid(alpha=0.3)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=9)
    axes[0, 0].set_ylabel("score")
    return figure


def judged_points_figure(report: Mapping[str, Any], title: str = "Operating points on test films") -> Figure:
    """Sensitivity and specificity of each point with intervals, pooled and inside each source.

    Args:
        report: of :func:`~cxr_core.evaluation.operating_point_report.judge_operating_points`.
        title: over the figure.
    """
    fixed = {name: entry for name, entry in report["points"].items() if entry["pooled"] is not None}
    where = sorted({source for entry in fixed.values() for source in entry["per_source"]})
    rows = ["all films", *where]
    if not fixed:
        return sentence_figure(title, "No operating point could be fixed.")
    columns = min(3, len(fixed))
    lines = -(-(len(fixed) + 1) // columns)  # one place more, for the legend
    size = (4.3 * columns + 0.8, (0.34 * len(rows) + 1.1) * lines + 0.8)
    note = f"{report['films']:,} films, 95 % intervals."
    figure, axes = new_figure(title, size=size, rows=lines, columns=columns, note=note, sharey=True)
    for axis, (name, entry) in zip(axes.flat, fixed.items(), strict=False):
        said = [entry["pooled"], *(entry["per_source"].get(source) for source in where)]
        for shift, colour, score in ((-0.13, OKABE_ITO[0], "sensitivity"), (0.13, OKABE_ITO[1], "specificity")):
            _forest(axis, [found and found[score] for found in said], shift, colour, score)
        target = entry["point"]["target"]
        if target is not None:
            axis.axvline(target, color=ACCENT, linestyle=":", linewidth=1.2, label="sensitivity asked for")
        axis.axhline(0.5, color=GREY, linewidth=0.6)
        axis.set_title(f"{name.replace('_', ' ')}: threshold {entry['point']['threshold']:.3f}")
        axis.set(xlim=(-0.02, 1.02))
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].set_yticks(range(len(rows)), rows)
    spare = list(axes.flat)[len(fixed) :]
    for axis in spare:
        axis.set_axis_off()
    handles, said_of = axes.flat[0].get_legend_handles_labels()
    spare[0].legend(handles, said_of, loc="center", frameon=False)
    return figure


def _forest(axis: Axes, values: Sequence[Mapping[str, Any] | None], shift: float, colour: str, label: str) -> None:
    known = [(place, said) for place, said in enumerate(values) if said is not None and said["value"] is not None]
    for place, said in known:
        if said["low"] is not None:
            axis.plot([said["low"], said["high"]], [place + shift] * 2, color=colour, linewidth=2)
    axis.plot(
        [said["value"] for _, said in known],
        [place + shift for place, _ in known],
        "o",
        color=colour,
        markersize=5,
        label=label,
    )


def _short(name: str, target: float | None) -> str:
    return "Youden" if target is None else f"sensitivity {target:.3g}"


def _ratio(above: npt.NDArray[np.integer], below: npt.NDArray[np.integer]) -> Floats:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
