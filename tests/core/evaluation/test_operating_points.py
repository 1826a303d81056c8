"""Operating points against brute force over every threshold; records that were changed; films that are too few."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.operating_point_report import points_table, who_verdict
from cxr_core.evaluation.operating_points import (
    OperatingPoint,
    OperatingPoints,
    fit_operating_points,
    judge_operating_points,
    read_operating_points,
    sensitivity_threshold,
    youden_threshold,
)
from cxr_core.evaluation.operating_points_scores import flag_scores
from cxr_core.evaluation.threshold_figures import judged_points_figure, threshold_curves, threshold_figure
from cxr_core.plotting import png_bytes

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
POINTS = ["tb_sensitivity_90", "tb_sensitivity_95", "youden_Normal", "youden_Pneumonia", "youden_Tuberculosis"]


def sample(n: int = 240, seed: int = 0, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels, groups of two films."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(0, 1, (n, 3)) + skill * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, labels, np.array([f"g{row // 2}" for row in range(n)], object)


def fitted(**changes) -> OperatingPoints:
    return fit_operating_points(*sample(), NAMES, 3, **{"resamples": 60, **changes})


def small_sets() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Three hundred small sets of scores and classes, with few different scores so that ties happen."""
    rng = np.random.default_rng(11)
    for _ in range(300):
        n = int(rng.integers(2, 40))
        positive = rng.random(n) < 0.4
        positive[:2] = True, False
        yield (rng.integers(0, 8, n) + positive * rng.integers(0, 3, n)) / 10, positive


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 1.0])
def test_no_larger_threshold_reaches_the_sensitivity(target: float) -> None:
    for scores, positive in small_sets():
        reaching = [t for t in np.r_[np.unique(scores), 2.0] if (scores[positive] >= t).mean() >= target - 1e-12]
        assert sensitivity_threshold(scores, positive, target) == max(reaching)


def test_rounding_does_not_ask_for_one_film_more() -> None:
    scores = np.arange(100.0)[::-1]
    assert sensitivity_threshold(scores, np.ones(100, bool), 0.55) == scores[54]  # .55 x 100 > 55 in binary


def test_no_other_threshold_has_a_larger_youden_index() -> None:
    hopeless = 0
    for scores, positive in small_sets():
        values = np.unique(scores)
        index = {t: (scores[positive] >= t).mean() - (scores[~positive] >= t).mean() for t in np.r_[values, 2.0]}
        best, found = max(index.values()), youden_threshold(scores, positive)
        if best <= 1e-12:
            assert found is None
            hopeless += 1
            continue
        lowest = min(t for t, value in index.items() if value >= best - 1e-12)  # of equal ones the most sensitive
        assert found == pytest.approx((lowest + values[values < lowest].max()) / 2)  # midway to the next film below
        assert (scores[positive] >= found).mean() - (scores[~positive] >= found).mean() == pytest.approx(best)
    assert 0 < hopeless < 100


def test_neighbouring_doubles_have_no_middle_and_the_upper_one_is_taken() -> None:
    upper = np.nextafter(0.5, 1)
    assert youden_threshold(np.array([0.5, upper]), np.array([False, True])) == upper


def test_the_points_are_those_of_their_rules_on_these_films() -> None:
    probabilities, labels, _ = sample()
    points = fitted()
    assert [point.name for point in points.points] == POINTS
    for point in points.points:
        scores, positive = probabilities[:, point.label_index], labels == point.label_index
        assert (point.films, point.positives) == (240, positive.sum())
        flagged = point.flags(probabilities)
        assert (flagged == (scores >= point.threshold)).all()
        assert point.sensitivity.value == pytest.approx(flagged[positive].mean())
        assert point.specificity.value == pytest.approx((~flagged[~positive]).mean())
        assert point.sensitivity.low < point.sensitivity.value < point.sensitivity.high
    tb90, tb95 = points.point("tb_sensitivity_90"), points.point("tb_sensitivity_95")
    assert tb90.sensitivity.value >= 0.9
    assert tb95.sensitivity.value >= 0.95
    assert tb95.threshold <= tb90.threshold
    assert points.per_class == {name: int((labels == k).sum()) for k, name in enumerate(NAMES)}


def test_a_film_at_the_threshold_is_flagged() -> None:
    probabilities, labels, _ = sample()
    point = fitted().point("tb_sensitivity_90")
    at = probabilities[(labels == 2) & (probabilities[:, 2] == point.threshold)]
    assert len(at) == 1
    assert point.flags(at).all()
    below = at.copy()
    below[:, 2] = np.nextafter(below[:, 2], 0)
    assert not point.flags(below).any()


def test_the_order_of_the_films_does_not_decide() -> None:
    probabilities, labels, groups = sample()
    order = np.random.default_rng(1).permutation(240)
    again = fit_operating_points(probabilities[order], labels[order], groups[order], NAMES, 3, resamples=60)
    assert [point.threshold for point in again.points] == [point.threshold for point in fitted().points]


def test_equal_films_give_equal_bytes_and_the_digest_is_of_the_content() -> None:
    assert fitted().content == fitted().content
    assert fitted().digest != fitted(temperature=1.5).digest
    assert read_operating_points(fitted().content) == fitted()


@pytest.mark.parametrize("field", ["threshold", "label", "target", "films", "temperature", "labels", "digest"])
def test_a_record_that_was_changed_is_refused(field: str, tmp_path: Path) -> None:
    path = tmp_path / "operating_points.json"
    text = fitted().content.decode()
    value = re.search(rf'"{field}": (\[[^]]*\]|[^,\n]+)', text)
    changes = {"labels": '["Normal", "Tuberculosis", "Pneumonia"]', "label": '"Pneumonia"', "digest": f'"{"0" * 64}"'}
    path.write_text(text.replace(value.group(1), changes.get(field, "0.5" if field != "films" else "7"), 1))
    with pytest.raises(CxrError, match=rf"{path}.*changed after it was written; fit the operating points again"):
        read_operating_points(path)


def test_a_file_that_is_no_record_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "points.json").write_text('{"format": 2}')
    with pytest.raises(CxrError, match=r"points.json, field format"):
        read_operating_points(tmp_path / "points.json")
    with pytest.raises(CxrError, match="is not there"):
        read_operating_points(tmp_path / "none.json")


def test_a_point_has_a_threshold_or_a_reason() -> None:
    about = {"name": "x", "label": "Normal", "label_index": 0, "rule": "youden", "films": 9, "positives": 3}
    with pytest.raises(ValueError, match="a threshold or a reason"):
        OperatingPoint(**about)
    with pytest.raises(ValueError, match="a threshold or a reason"):
        OperatingPoint(**about, threshold=0.5, reason="none")
    with pytest.raises(CxrError, match="not available: too few"):
        OperatingPoint(**about, reason="too few").flags(np.ones((1, 3)) / 3)


def reasons(points: OperatingPoints) -> dict[str, str]:
    return {point.name: point.reason for point in points.points if point.threshold is None}


def test_a_class_of_three_films_has_no_threshold() -> None:
    probabilities, labels, groups = sample()
    kept = (labels != 2) | (np.cumsum(labels == 2) <= 3)
    points = fit_operating_points(probabilities[kept], labels[kept], groups[kept], NAMES, 0, resamples=20)
    few = "3 films of Tuberculosis; 10 or more are needed"
    assert reasons(points) == {name: few for name in POINTS if "ormal" not in name and "Pneu" not in name}
    assert points.point("tb_sensitivity_90").threshold is None
    one = labels == 0
    alone = fit_operating_points(probabilities[one], labels[one], groups[one], NAMES, 0, resamples=20)
    assert reasons(alone)["youden_Normal"] == "0 films of the other classes; 10 or more are needed"
    assert len(reasons(alone)) == 5


def test_equal_probabilities_and_guesses_have_no_threshold() -> None:
    _, labels, groups = sample()
    flat = np.full((240, 3), 1 / 3)
    found = reasons(fit_operating_points(flat, labels, groups, NAMES, 0, resamples=20))
    assert found["tb_sensitivity_90"] == "all films have the same probability of Tuberculosis"
    assert len(found) == 5
    opposite = np.where(np.eye(3)[labels] > 0, 0.0, 0.5)
    found = reasons(fit_operating_points(opposite, labels, groups, NAMES, 0, resamples=20))
    assert found["youden_Normal"] == "no threshold does better than chance on these films"


def test_without_films_or_without_the_class_the_points_say_why() -> None:
    empty = fit_operating_points(np.zeros((0, 3)), np.zeros(0, int), [], NAMES, 0)
    assert set(reasons(empty)) == set(POINTS)
    probabilities, labels, groups = sample()
    other = fit_operating_points(probabilities, labels, groups, ("Normal", "Pneumonia", "Covid"), 0, resamples=20)
    assert reasons(other) == dict.fromkeys(POINTS[:2], "no class is named Tuberculosis")
    judged = judge_operating_points(other, probabilities, labels, groups, ["a"] * 240, 0, 20)
    assert judged["verdict"]["passed"]  # nothing is asked of a data set without the disease
    assert judged["verdict"]["sentence"] == "Not available: no class is named Tuberculosis."


def test_numbers_that_are_none_are_refused() -> None:
    probabilities, labels, groups = sample()
    points = fitted()
    probabilities[3, 1] = np.nan
    with pytest.raises(CxrError, match="Column p_1"):
        fit_operating_points(probabilities, labels, groups, NAMES, 0)
    with pytest.raises(CxrError, match="Column p_1"):
        judge_operating_points(points, probabilities, labels, groups, ["a"] * 240, 0)
    with pytest.raises(CxrError, match="do not fit"):
        judge_operating_points(points, np.ones((240, 3)), labels, groups, ["a"], 0)


def test_scores_and_their_intervals_equal_a_plain_count() -> None:
    probabilities, labels, groups = sample(seed=5)
    flagged, positive = probabilities[:, 2] >= 0.5, labels == 2
    found = flag_scores(flagged, positive, groups, 4, 80)
    weights = np.concatenate(list(resample_weights(groups, 4, 80)))
    for name, part, among in (
        ("sensitivity", flagged, positive),
        ("specificity", ~flagged, ~positive),
        ("ppv", positive, flagged),
        ("npv", ~positive, ~flagged),
    ):
        drawn = np.array([row[part & among].sum() / row[among].sum() for row in weights])
        assert found[name]["value"] == pytest.approx((part & among).sum() / among.sum())
        assert {key: found[name][key] for key in ("low", "high")} == pytest.approx(percentile_interval(drawn))
        assert found[name]["films"] == among.sum()


def test_where_all_films_agree_the_interval_is_exact_over_groups() -> None:
    positive = np.arange(40) < 20
    groups = np.array([f"g{row // 2}" for row in range(40)], object)
    found = flag_scores(positive, positive, groups, 0, 20)
    for share in found.values():
        assert (share["value"], share["high"]) == (1.0, 1.0)
        assert share["low"] == pytest.approx(0.025 ** (1 / 10))  # ten patients of two films: not twenty trials
    none = flag_scores(np.zeros(40, bool), positive, groups, 0, 20)
    assert none["ppv"] == {"value": None, "low": None, "high": None, "reason": "no film is flagged"}
    assert none["sensitivity"]["low"] == 0.0


def test_the_report_looks_inside_each_source() -> None:
    points = fitted()
    probabilities, labels, groups = sample(seed=8)
    sources = np.where(np.arange(240) % 3 == 0, "a", "b").astype(object)
    sources[labels == 1] = "c"  # one class only
    sources[7] = None
    report = judge_operating_points(points, probabilities, labels, groups, sources, 1, 50)
    entry = report["points"]["tb_sensitivity_90"]
    assert set(entry["per_source"]) == {"a", "b", "c", "unknown"}
    assert entry["per_source"]["c"]["sensitivity"]["reason"] == "no film is of the class"
    assert entry["per_source"]["unknown"]["films"] == 1
    rows = (sources == "a").astype(bool)
    flagged = probabilities[rows, 2] >= entry["point"]["threshold"]
    assert entry["per_source"]["a"]["flagged"] == flagged.sum()
    assert entry["per_source"]["a"]["sensitivity"]["value"] == pytest.approx(flagged[labels[rows] == 2].mean())
    assert sum(said["positives"] for said in entry["per_source"].values()) == entry["pooled"]["positives"]
    assert report["digest"] == points.digest
    json.dumps(report, allow_nan=False)
    assert len(points_table(report)) == 25  # five points, pooled and in four sources
    assert png_bytes(judged_points_figure(report), dpi=40)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "passed"),
    [
        ((0.92, 0.85, 0.97), (0.75, 0.7, 0.8), True),
        ((0.87, 0.80, 0.93), (0.75, 0.7, 0.8), True),  # the interval reaches .90
        ((0.80, 0.70, 0.89), (0.99, 0.98, 1.0), False),
        ((0.95, 0.90, 0.99), (0.69, 0.6, 0.75), False),
        ((0.95, 0.90, 0.99), (0.70, 0.6, 0.75), True),
    ],
)
def test_the_who_minimum_asks_for_both(sensitivity: tuple, specificity: tuple, passed: bool) -> None:
    def share(numbers: tuple) -> dict:
        return {**dict(zip(("value", "low", "high"), numbers, strict=True)), "films": 100}

    pooled = {"sensitivity": share(sensitivity), "specificity": share(specificity)}
    point = {"target": 0.9, "label_index": 2}
    verdict = who_verdict({"tb_sensitivity_90": {"pooled": pooled, "point": point}})
    assert verdict["passed"] == passed
    assert (verdict["value"], verdict["low"], verdict["limit"]) == (*specificity[:2], 0.7)
    assert f"{sensitivity[0]:.1%}" in verdict["sentence"]
    assert f"{specificity[0]:.1%}" in verdict["sentence"]


def test_a_point_that_was_not_fixed_does_not_pass() -> None:
    probabilities, labels, groups = sample()
    few = fit_operating_points(probabilities[:15], labels[:15], groups[:15], NAMES, 0, resamples=20)
    report = judge_operating_points(few, probabilities, labels, groups, ["a"] * 240, 0, 20)
    assert not report["verdict"]["passed"]
    assert report["verdict"]["value"] is None
    assert "10 or more are needed" in report["verdict"]["sentence"]
    assert report["points"]["tb_sensitivity_90"]["pooled"] is None
    assert png_bytes(judged_points_figure({**report, "points": {}}), dpi=40)


def test_threshold_curves_equal_scikit_learn() -> None:
    from sklearn.metrics import f1_score, precision_score, recall_score

    probabilities, labels, _ = sample()
    thresholds = np.array([0.0, 0.2, 0.5, probabilities[labels == 1, 1].max(), 1.01])
    found = threshold_curves(probabilities[:, 1], labels == 1, thresholds)
    for place, threshold in enumerate(thresholds):
        said, true = probabilities[:, 1] >= threshold, labels == 1
        assert found["sensitivity"][place] == pytest.approx(recall_score(true, said))
        assert found["specificity"][place] == pytest.approx(recall_score(~true, ~said))
        assert found["f1"][place] == pytest.approx(f1_score(true, said))
        if said.any():
            assert found["precision"][place] == pytest.approx(precision_score(true, said))
    assert np.isnan(found["precision"][-1])


def test_the_threshold_figure_marks_every_point_of_a_class() -> None:
    probabilities, labels, _ = sample()
    points = fitted()
    figure = threshold_figure(probabilities, labels, points)
    legend = figure.axes[2].get_legend_handles_labels()[1]
    assert legend[:4] == ["sensitivity", "specificity", "precision", "F1"]
    marked = [points.point(name) for name in ("tb_sensitivity_90", "tb_sensitivity_95", "youden_Tuberculosis")]
    assert [text.split(": ")[1] for text in legend[4:]] == [f"{point.threshold:.3f}" for point in marked]
    assert png_bytes(figure, dpi=40) == png_bytes(threshold_figure(probabilities, labels, points), dpi=40)
