import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cxr_core.settings import load_settings
from cxr_core.training.study_figures import (
    history_figure,
    importance_figure,
    importances,
    parallel_figure,
    slice_figure,
    study_pngs,
)
from cxr_core.training.trials import COLUMNS, PARAMETERS

TUNING = load_settings({"profile": "standard"}).tuning


def table(count: int, states: str = "c", log_loss: Any = None) -> pd.DataFrame:
    """Trials whose log loss follows from the learning rate alone, unless it is given; states repeat."""
    rng = np.random.default_rng(3)
    names = {"c": "complete", "p": "pruned", "d": "diverged"}
    rows = []
    for trial in range(count):
        rate = 10 ** rng.uniform(-5, -3)
        state = names[states[trial % len(states)]]
        loss = (math.log10(rate) + 4) ** 2 if log_loss is None else log_loss
        rows.append(
            {
                "trial": trial,
                "learning_rate": rate,
                "weight_decay": 10 ** rng.uniform(-5, -3),
                "dropout": rng.uniform(0.3, 0.7),
                "batch_size": int(rng.choice([16, 32, 64])),
                "freeze_epochs": int(rng.integers(0, 11)),
                "focal_gamma": rng.uniform(1.5, 2.5),
                "state": state,
                "epochs": 20,
                "log_loss": math.nan if state == "diverged" else loss,
                "macro_auc": 0.9,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axis in figure.axes for text in axis.texts)


@pytest.mark.parametrize(
    "trials",
    [
        table(15, "ccpcd"),
        table(1),
        table(1, "d"),
        table(2, "cd"),
        table(8, log_loss=0.5),
        table(0),
    ],
    ids=["mixed", "one", "one_diverged", "two", "no_variance", "none"],
)
def test_every_figure_draws_whatever_the_trials_are(trials: pd.DataFrame) -> None:
    pngs = study_pngs(trials, TUNING)
    assert set(pngs) == {"history", "importance", "parallel_coordinate", "slice"}
    assert all(png.startswith(b"\x89PNG") for png in pngs.values())
    assert pngs == study_pngs(trials, TUNING)


def test_the_figures_of_a_trial_with_a_single_epoch_draw() -> None:
    """One epoch leaves nothing to choose for the frozen ones."""
    trials = table(7).assign(freeze_epochs=0)
    assert len(study_pngs(trials, TUNING.model_copy(update={"epochs": 1}))) == 4


def test_the_history_follows_the_best_complete_trial() -> None:
    trials = table(5).assign(
        log_loss=[0.8, 0.1, 0.9, np.nan, 0.5], state=["complete", "pruned", "complete", "diverged", "complete"]
    )
    (axis,) = history_figure(trials).axes
    assert list(axis.get_lines()[0].get_ydata()) == [0.8, 0.8, 0.5, 0.5]
    assert "best: trial 4, 0.5000" in axis.get_legend_handles_labels()[1]
    assert {"pruned", "diverged"} <= set(axis.get_legend_handles_labels()[1])


def test_importance_finds_the_parameter_that_decides() -> None:
    shares = importances(table(15), TUNING)
    assert isinstance(shares, dict)
    assert set(shares) == set(PARAMETERS)
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.6
    assert shares == importances(table(15), TUNING)


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (table(5), "too few"),
        (table(12, "cp").head(11), None),
        (table(12, "cpp"), "too few"),
        (table(9, log_loss=0.4), "same log loss"),
    ],
)
def test_importance_that_cannot_be_had_says_why(trials: pd.DataFrame, reason: str | None) -> None:
    shares = importances(trials, TUNING)
    if reason is None:  # six complete trials
        assert isinstance(shares, dict)
    else:
        assert isinstance(shares, str)
        assert reason in shares
        assert f"Not available: {shares}." in texts(importance_figure(trials, TUNING))


def test_parallel_lines_end_at_their_log_loss_and_start_at_their_rate() -> None:
    trials = table(4, "cpcd")
    (axis,) = parallel_figure(trials, TUNING).axes
    lines = [line for line in axis.get_lines() if len(line.get_xdata()) == len(PARAMETERS) + 1]
    assert [line.get_linestyle() for line in lines].count(":") == 1  # the pruned one; the diverged has no place
    shown = trials[trials["log_loss"].notna()].sort_values("log_loss", ascending=False)
    assert [line.get_ydata()[0] for line in lines] == pytest.approx((np.log10(shown["learning_rate"]) + 5) / 2)
    losses = shown["log_loss"]
    expected = (losses - losses.min()) / (losses.max() - losses.min())
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx(expected)


def test_slices_show_each_parameter_over_the_range_searched() -> None:
    figure = slice_figure(table(15, "ccp"), TUNING)
    axes = figure.axes[: len(PARAMETERS)]
    assert [axis.get_xlabel() for axis in axes] == [name.replace("_", " ") for name in PARAMETERS]
    assert [sum(len(part.get_offsets()) for part in axis.collections) for axis in axes] == [15] * 6
    for axis, name in zip(axes, PARAMETERS, strict=True):
        if name != "batch_size":
            low, high = getattr(TUNING, name)
            assert axis.get_xlim()[0] < low < high < axis.get_xlim()[1]
