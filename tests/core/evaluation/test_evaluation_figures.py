"""The evaluation figures draw what they are given, complete or not."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_core.evaluation.figures import confusion_figure, roc_figure, training_figure
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.plotting import png_bytes

NAMES = ("Normal", "Pneumonia", "Tuberculosis")


def legend_of(axis: object) -> list[str]:
    return axis.get_legend_handles_labels()[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [0, 0, 2, 2]], ids=["all_classes", "one_missing"])
def test_the_confusion_matrix_shows_share_and_count(labels: list[int]) -> None:
    metrics = classification_metrics(np.array(labels), np.eye(3)[[0, 1, 1, 2]], NAMES)
    figure = confusion_figure(metrics)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 9
    assert texts[:2] == ["50.0%\n1", "50.0%\n1"]
    assert png_bytes(figure, dpi=40)


def test_roc_curves_name_their_area_and_what_is_undefined() -> None:
    labels = np.array([0, 0, 2, 2])
    probabilities = np.array([[0.9, 0.1, 0], [0.4, 0.3, 0.3], [0.5, 0.1, 0.4], [0.1, 0.2, 0.7]])
    figure = roc_figure(labels, probabilities, NAMES)
    assert legend_of(figure.axes[0])[:3] == ["Normal: AUC 0.750", "Pneumonia: undefined", "Tuberculosis: AUC 1.000"]
    assert png_bytes(figure, dpi=40)


def test_training_curves_mark_frozen_epochs_and_the_smallest_validation_loss() -> None:
    losses = [0.9, 0.5, 0.4, 0.6]
    history = [
        {"epoch": e + 1, "train_loss": loss - 0.1, "val_loss": loss, "learning_rate": 1e-4 / (e + 1), "frozen": e < 2}
        for e, loss in enumerate(losses)
    ]
    figure = training_figure(history)
    assert legend_of(figure.axes[0]) == ["training loss", "validation loss", "backbone frozen", "best epoch 3"]
    assert len(figure.axes[0].patches) == 2
    assert "best epoch 2" in legend_of(training_figure(history, best_epoch=2).axes[0])
    assert png_bytes(figure, dpi=40)


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "val_loss": None}], [{"epoch": 1, "val_accuracy": 0.5}]])
def test_training_curves_of_a_short_history_draw(history: list[dict[str, object]]) -> None:
    assert png_bytes(training_figure(history), dpi=40)
