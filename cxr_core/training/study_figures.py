"""Figures of a search, drawn from its table of trials: history, importance, parallel coordinates, slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.plotting import ACCENT, GREY, OKABE_ITO, new_figure, png_bytes, sentence_figure
from cxr_core.settings_sections import TuningSettings
from cxr_core.training.trials import PARAMETERS, space_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["history_figure", "importance_figure", "importances", "parallel_figure", "slice_figure", "study_pngs"]

_VALUE = "validation log loss (nats)"
_COLOURS = "viridis"  # dark is low, that is good; even steps of lightness for the colour-blind
_LIGHTEST = 0.9  # of it: its yellow end is lost on white
_PRUNED_COLOUR = OKABE_ITO[1]


def study_pngs(trials: pd.DataFrame, tuning: TuningSettings) -> dict[str, bytes]:
    """All figures of a search as PNG, by name.

    Args:
        trials: table of :func:`cxr_core.training.trials.table_of`.
        tuning: what was searched.
    """
    figures = {
        "history": history_figure(trials),
        "importance": importance_figure(trials, tuning),
        "parallel_coordinate": parallel_figure(trials, tuning),
        "slice": slice_figure(trials, tuning),
    }
    return {name: png_bytes(figure) for name, figure in figures.items()}


def history_figure(trials: pd.DataFrame) -> Figure:
    """Log loss of each trial in order, the best complete one so far, and the trials that did not end."""
    figure, axes = new_figure("Tuning: validation log loss of each trial", size=(8, 4.4), note=_count(trials))
    axis = axes[0, 0]
    complete, pruned, diverged = (trials[trials["state"] == state] for state in ("complete", "pruned", "diverged"))
    if len(complete):
        numbers, values = complete["trial"].to_numpy(), complete["log_loss"].to_numpy()
        so_far = np.minimum.accumulate(values)
        last = max(int(trials["trial"].max()), int(numbers[-1]))  # the line goes on to the last trial
        axis.step([*numbers, last], [*so_far, so_far[-1]], where="post", color=ACCENT, label="best so far")
        axis.scatter(numbers, values, color=OKABE_ITO[0], zorder=3, label="complete")
        best = int(values.argmin())
        label = f"best: trial {numbers[best]}, {values[best]:.4f}"
        axis.scatter(
            numbers[best],
            values[best],
            s=140,
            facecolors="none",
            edgecolors=ACCENT,
            linewidths=2,
            zorder=4,
            label=label,
        )
    if len(pruned):
        axis.scatter(pruned["trial"], pruned["log_loss"], marker="v", color=_PRUNED_COLOUR, zorder=3, label="pruned")
    if len(diverged):
        at_the_foot = axis.get_xaxis_transform()
        axis.plot(diverged["trial"], [0.02] * len(diverged), "x", color=GREY, transform=at_the_foot, label="diverged")
    axis.set(xlabel="trial", ylabel=_VALUE)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    if len(trials):
        axis.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5)
    return figure


def importances(trials: pd.DataFrame, tuning: TuningSettings) -> dict[str, float] | str:
    """Share of the log loss's variance over the space that each parameter explains.

    By functional ANOVA (Hutter, Hoos and Leyton-Brown 2014) as Optuna computes it, on the scale that each parameter is
    drawn on, from the complete trials.

    Args:
        trials: table of the trials.
        tuning: what was searched; its seed is that of the forest.

    Returns:
        Shares that sum to 1, largest first; or, in words, why there are none.
    """
    import optuna
    from optuna.distributions import FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    complete = trials[trials["state"] == "complete"]
    if len(complete) < len(PARAMETERS):  # a judgement: fewer points than dimensions tell the dimensions apart by chance
        return f"complete trials ({len(complete)}) are too few to weigh {len(PARAMETERS)} parameters"
    if complete["log_loss"].nunique() < 2:
        return "all complete trials have the same log loss"
    space = space_of(tuning)
    logged = [name for name, drawn in space.items() if getattr(drawn, "log", False)]
    for name in logged:  # Optuna's forest would take them on the linear scale
        low, high = (float(np.log10(end)) for end in getattr(tuning, name))
        space[name] = FloatDistribution(low, high)
    study = optuna.create_study(direction="minimize")
    for row in complete.to_dict("records"):
        params = {name: float(np.log10(row[name])) if name in logged else row[name] for name in PARAMETERS}
        study.add_trial(create_trial(params=params, distributions=space, value=row["log_loss"]))
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=tuning.seed))
    return {name: float(share) for name, share in shares.items()}


def importance_figure(trials: pd.DataFrame, tuning: TuningSettings) -> Figure:
    """Bars of :func:`importances`, or why there are none."""
    title = "Tuning: importance of each parameter"
    shares = importances(trials, tuning)
    if isinstance(shares, str):
        return sentence_figure(title, f"Not available: {shares}.")
    note = f"Functional ANOVA over {(trials['state'] == 'complete').sum()} complete trials."
    figure, axes = new_figure(title, size=(8, 3.8), note=note)
    axis = axes[0, 0]
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    bars = axis.barh([_words(name) for name in names], values, color=OKABE_ITO[0])
    axis.bar_label(bars, [f"{value:.2f}" for value in values], padding=4, fontsize=9)
    axis.set(xlabel="share of the log loss's variance", xlim=(0, max(values) * 1.12))
    axis.grid(axis="x", alpha=0.3)
    return figure


def parallel_figure(trials: pd.DataFrame, tuning: TuningSettings) -> Figure:
    """Each trial as a line over the parameters and its log loss: coloured where complete, dotted where pruned."""
    from matplotlib import colormaps

    note = f"{_count(trials)} The darker, the lower the log loss; dotted: pruned."
    figure, axes = new_figure("Tuning: parallel coordinates", size=(11, 4.8), note=note)
    axis = axes[0, 0]
    columns = [*PARAMETERS, "log_loss"]
    shown = trials[trials["log_loss"].notna()].sort_values("log_loss", ascending=False)  # the best on top
    scales = {name: _Scale(name, tuning, shown) for name in columns}
    for row in shown.to_dict("records"):
        heights = [scales[name].share(row[name]) for name in columns]
        if row["state"] == "complete":
            colour = colormaps[_COLOURS](_LIGHTEST * heights[-1])
            axis.plot(range(len(columns)), heights, color=colour, linewidth=1.6, marker="o", markersize=3)
        else:
            axis.plot(range(len(columns)), heights, color=GREY, linewidth=0.9, linestyle=":")
    white = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
    for place, name in enumerate(columns):
        axis.axvline(place, color="black", linewidth=0.8, zorder=0)
        for share, text in scales[name].ticks():
            axis.annotate(text, (place, share), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center",
                          bbox=white)  # fmt: skip
    axis.set_xticks(range(len(columns)), [_words(name).replace(" ", "\n") for name in columns])
    axis.set(yticks=[], ylim=(-0.05, 1.05), xlim=(-0.2, len(columns) - 0.4))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def slice_figure(trials: pd.DataFrame, tuning: TuningSettings) -> Figure:
    """Log loss against each parameter over the range searched; the later the trial, the darker."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure("Tuning: slices", size=(11, 6), rows=2, columns=3, note=_count(trials), sharey=True)
    complete, pruned = (trials[trials["state"] == state] for state in ("complete", "pruned"))
    space, points = space_of(tuning), None
    shades = max(1, len(trials))
    blues = ListedColormap(colormaps["Blues"](np.linspace(0.25, 1, shades)))
    for axis, name in zip(axes.flat, PARAMETERS, strict=True):
        drawn: Any = space[name]
        choices = list(getattr(drawn, "choices", ()))
        for part, marker in ((complete, "o"), (pruned, "v")):
            if len(part):
                at = part[name].map(choices.index) if choices else part[name]
                points = axis.scatter(at, part["log_loss"], c=part["trial"], cmap=blues, marker=marker, vmin=-0.5,
                                      vmax=shades - 0.5, edgecolors=GREY, linewidths=0.5)  # fmt: skip
        if choices:
            axis.set_xticks(range(len(choices)), choices)
            axis.set_xlim(-0.5, len(choices) - 0.5)
        elif getattr(drawn, "log", False):
            axis.set(xscale="log", xlim=(drawn.low / 1.2, drawn.high * 1.2))
        else:
            margin = 0.05 * (drawn.high - drawn.low) or 0.5
            axis.set_xlim(drawn.low - margin, drawn.high + margin)
            if isinstance(drawn.low, int):
                axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel(_words(name))
        axis.grid(alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel(_VALUE)
    if points is not None:
        marks = MaxNLocator(integer=True)
        figure.colorbar(points, ax=axes, label="trial (round: complete, triangle: pruned)", ticks=marks)
    return figure


class _Scale:
    """Where a value lies between the foot (0) and the top (1) of its axis."""

    def __init__(self, name: str, tuning: TuningSettings, shown: pd.DataFrame) -> None:
        drawn: Any = space_of(tuning).get(name)
        self._choices = list(getattr(drawn, "choices", ()))
        self._log = bool(getattr(drawn, "log", False))
        if self._choices:
            self._low, self._high = 0.0, float(len(self._choices) - 1)
        elif drawn is not None:
            self._low, self._high = self._plain(drawn.low), self._plain(drawn.high)
        else:
            values = shown[name].to_numpy(np.float64) if len(shown) else np.zeros(1)
            self._low, self._high = float(values.min()), float(values.max())
        self._whole = name == "freeze_epochs"

    def _plain(self, value: float) -> float:
        return float(np.log10(value)) if self._log else float(value)

    def share(self, value: Any) -> float:
        place = float(self._choices.index(value)) if self._choices else self._plain(value)
        return (place - self._low) / (self._high - self._low) if self._high > self._low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the marks."""
        if self._choices:
            return [(self.share(choice), str(choice)) for choice in self._choices]
        places: npt.NDArray[np.float64] = np.linspace(self._low, self._high, 5 if self._high > self._low else 1)
        if self._whole:
            places = np.unique(np.round(places))
        values = [10**place if self._log else place for place in places]
        return [(self.share(value), f"{value:.3g}") for value in values]


def _count(trials: pd.DataFrame) -> str:
    counts = trials["state"].value_counts()
    parts = [f"{counts[state]} {state}" for state in ("complete", "pruned", "diverged") if counts.get(state, 0)]
    return f"Trials: {', '.join(parts) or 'none'}."


def _words(name: str) -> str:
    return name.replace("_", " ")
