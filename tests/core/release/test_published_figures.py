"""The technical report's printed figures: data that agrees with itself, contradictions that code finds and undoes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import evidence_store as made
import numpy as np
import numpy.typing as npt
import pytest

from cxr_core.release.document import Number, Paragraph
from cxr_core.release.published import beside_ours, published
from cxr_core.release.published_contradictions import contradictions, printed
from cxr_core.release.published_derived import derived, technical_report
from cxr_core.release.published_figure import CLASSES, Published
from cxr_core.release.published_figures import FIGURES, PUBLISHED
from cxr_core.release.report_sources import Sources
from cxr_core.store import ArtefactStore

# For each contradiction a change of the printed figures that takes it away.
UNDONE: Mapping[str, Mapping[str, float]] = {
    "lowest_recall": {"recall/Pneumonia": 0.60},
    "conservative": {"own_missed": 20, "own_flagged": 32},
    "false_negatives": {"false_negatives": 390},
    "false_positives": {"false_positives": 155},
    "between_diseases": {"between_diseases": 5},
    "false_negative_share": {"false_negative_share": 0.08},
    "errors": {"between_diseases": 253},
    "confidence": {"mean_confidence/clinical": 0.70},
    "severity": {"accuracy/severe": 0.70, "macro_auc/severe": 0.80},
    "clean_twice": {"accuracy/clean": 0.784},
    "early_stop": {"best_epoch": 20},
    "tuned_rate": {"rate_said_tuned": 0.00035},
}


def _changed(values: Mapping[str, float]) -> dict[str, Published]:
    return {**FIGURES, **{key: replace(FIGURES[key], value=value) for key, value in values.items()}}


def test_films_add_up_over_classes_and_over_parts() -> None:
    films = FIGURES["films"].value
    assert sum(FIGURES[f"films/{label}"].value for label in CLASSES) == films
    assert sum(FIGURES[f"films/{part}"].value for part in ("train", "validation", "test")) == films
    assert sum(FIGURES[f"support/{label}"].value for label in CLASSES) == FIGURES["films/test"].value


def test_no_figure_is_printed_twice_and_each_is_ours_or_says_why_not() -> None:
    assert len(FIGURES) == len(PUBLISHED)
    for figure in PUBLISHED:
        assert bool(figure.ours) != bool(figure.absent), figure.key
        assert figure.range[0] <= figure.value <= figure.range[1]


@pytest.mark.parametrize("key", UNDONE)
def test_a_contradiction_stands_by_the_printed_figures_and_goes_with_others(key: str) -> None:
    found = {one.key: one for one in contradictions()}
    assert list(found) == list(UNDONE)
    assert found[key].stands
    assert not {one.key: one for one in contradictions(_changed(UNDONE[key]))}[key].stands


def test_the_sentences_name_the_figures_that_they_are_about() -> None:
    found = {one.key: Paragraph(one.text, dict(one.numbers)) for one in contradictions()}
    lowest = {name: cell.value for name, cell in found["lowest_recall"].numbers.items() if isinstance(cell, Number)}
    assert lowest == {"named": 1.0, "lowest": 0.63}
    assert "Tuberculosis has the lowest" in found["lowest_recall"].text
    conservative = {
        name: cell.value for name, cell in found["conservative"].numbers.items() if isinstance(cell, Number)
    }
    assert (conservative["own_missed"], conservative["own_flagged"]) == (541, 32)


def _confusion(seed: int) -> npt.NDArray[np.int64]:
    """A confusion matrix of 909, 583 and 1,064 films, more right than wrong."""
    rng = np.random.default_rng(seed)
    shares = [rng.dirichlet(np.where(np.arange(3) == row, 12.0, 2.0)) for row in range(3)]
    return np.stack([rng.multinomial(n, p) for n, p in zip((909, 583, 1064), shares, strict=True)])


@pytest.mark.parametrize("seed", range(20))
def test_the_range_that_rounding_allows_holds_the_truth(seed: int) -> None:
    counts = _confusion(seed)
    recall, precision = counts.diagonal() / counts.sum(axis=1), counts.diagonal() / counts.sum(axis=0)
    figures = _changed(
        {f"recall/{label}": round(float(recall[row]), 2) for row, label in enumerate(CLASSES)}
        | {f"precision/{label}": round(float(precision[row]), 2) for row, label in enumerate(CLASSES)}
        | {"accuracy": round(float(counts.trace() / counts.sum()), 3)}
    )
    truth = {
        "missed": counts[1:, 0].sum(),
        "flagged": counts[0, 1:].sum(),
        "between_diseases": counts[1, 2] + counts[2, 1],
        "errors_by_accuracy": counts.sum() - counts.trace(),
    }
    for name, value in truth.items():
        low, high = derived(figures, name)
        assert low - 1e-9 <= value <= high + 1e-9, name


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return made.without(*made.fill(tmp_path_factory.mktemp("published") / "store"))


def test_ours_stand_beside_them_with_the_interval_of_the_report(sources: Sources) -> None:
    ours = {str(row[1]): row[3] for row in beside_ours(sources).rows}
    scores = made.reports()["evaluation"]["intervals"]
    for title, entry in (
        ("Accuracy", scores["accuracy"]),
        ("Tuberculosis: recall", scores["per_class"]["Tuberculosis"]["recall"]),
        ("Normal: AUC", scores["per_class"]["Normal"]["auc"]),
    ):
        cell = ours[title]
        assert isinstance(cell, Number)
        assert (cell.value, cell.low, cell.high) == (entry["value"], entry["low"], entry["high"])
    severe = ours["Severe films: accuracy"]
    entry = made.reports()["robustness"]["conditions"]["severe"]
    assert isinstance(severe, Number)
    assert (severe.value, severe.low) == (entry["accuracy"], entry["intervals"]["accuracy"]["low"])
    limit = ours["Least macro F1 before release"]
    assert isinstance(limit, Number)
    assert limit.value == 0.75
    last = ours["Validation accuracy"]
    assert isinstance(last, Number)
    assert last.value == made.reports()["trained_model"]["training"]["history"][-1]["val_accuracy"]


def test_a_figure_without_ours_says_why(sources: Sources, tmp_path: object) -> None:
    for row in beside_ours(sources).rows:
        assert isinstance(row[2], Number)
        assert row[2].value is not None
        assert not isinstance(row[3], str) or row[3].startswith("not available: ")
    nothing = Sources.open(ArtefactStore(str(tmp_path)), {})
    for row in beside_ours(nothing).rows:
        assert row[3].reason if isinstance(row[3], Number) else row[3].startswith("not available: ")


def test_printed_figures_resolve_as_numbers_of_reports_do(sources: Sources) -> None:
    for key, figure in FIGURES.items():
        number = printed(key)
        assert sources.resolve(number.source, number.unit) == number
        assert technical_report()[key] == figure.value


def test_the_section_lists_the_contradictions_that_stand(sources: Sources) -> None:
    texts = [block.text for block in published(sources).blocks if isinstance(block, Paragraph)]
    assert texts == [one.text for one in contradictions()]
