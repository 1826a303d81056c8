"""The report on mitigation: gains that are paired and the right way round, verdicts by rule, abstention, bad input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.calibration import ERROR, calibration_report
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.paired import paired_difference
from cxr_core.plotting import png_bytes
from cxr_core.robustness.corruptions import CORRUPTIONS, corrupt
from cxr_core.robustness.mitigation import gains_table, mitigation_report
from cxr_core.robustness.mitigation_arms import CORRUPTED, PLAIN, TEST_TIME, TWIN, Arm, run_arms
from cxr_core.robustness.mitigation_conditions import Trial, drawn_kinds, trials_of
from cxr_core.robustness.mitigation_figures import abstention_figure, gains_figure
from cxr_core.robustness.mitigation_verdict import conclusion, judged
from cxr_core.settings_stress import MitigationSettings, RobustnessSettings

Floats = npt.NDArray[np.float64]
NAMES = ("Normal", "Pneumonia", "Tuberculosis")
N = 150


def _said(labels: npt.NDArray[np.int64], right: float, seed: int, sure: float = 0.8) -> Floats:
    """Probabilities that put ``sure`` on the true class of a share of the films, on the next class of the others."""
    rng = np.random.default_rng(seed)
    place = np.where(rng.random(len(labels)) < right, labels, (labels + 1) % 3)
    said = rng.uniform(0.01, 0.2, (len(labels), 3))
    said[np.arange(len(labels)), place] += sure * rng.uniform(0.5, 4, len(labels))
    return np.asarray(said / said.sum(axis=1, keepdims=True))


ARMS = [
    Arm(PLAIN, "the model as it is", 1, lambda frames, plain: plain),
    Arm(TEST_TIME, "copies", 4, lambda frames, plain: plain),
    Arm(TWIN, "further training", 1, lambda frames, plain: plain),
    Arm(CORRUPTED, "with corruptions", 1, lambda frames, plain: plain, against=TWIN),
]
TRIALS = trials_of(MitigationSettings(conditions=("severe", "gamma-3", "jpeg-3")), RobustnessSettings())


@pytest.fixture(scope="module")
def labels() -> npt.NDArray[np.int64]:
    return (np.arange(N) % 3).astype(np.int64)


@pytest.fixture(scope="module")
def groups() -> list[str]:
    return [f"g{number // 2}" for number in range(N)]


@pytest.fixture(scope="module")
def probabilities(labels: npt.NDArray[np.int64]) -> dict[str, dict[str, Floats]]:
    """Copies help under corruption and cost nothing; the twin changes nothing; corruptions in training harm."""
    found: dict[str, dict[str, Floats]] = {}
    for number, trial in enumerate(TRIALS):
        plain = _said(labels, 0.9 if not number else 0.55, number)
        copies = plain if not number else _said(labels, 0.9, 10 + number)
        worse = _said(labels, 0.4 if number else 0.9, 20 + number)
        found[trial.name] = {PLAIN: plain, TEST_TIME: copies, TWIN: plain, CORRUPTED: worse}
    return found


@pytest.fixture(scope="module")
def report(
    labels: npt.NDArray[np.int64], groups: list[str], probabilities: dict[str, dict[str, Floats]]
) -> dict[str, Any]:
    return mitigation_report(labels, groups, NAMES, ARMS, TRIALS, probabilities, 0.7, 42, 400)


def test_each_gain_is_the_paired_difference_and_positive_where_the_measure_is_better(
    report: dict[str, Any],
    labels: npt.NDArray[np.int64],
    groups: list[str],
    probabilities: dict[str, dict[str, Floats]],
) -> None:
    gain = report["arms"][TEST_TIME]["conditions"]["severe"]["gain"]
    pair = probabilities["severe"][TEST_TIME], probabilities["severe"][PLAIN]
    other = paired_difference(labels, *pair, groups, 42, 400, NAMES)
    for score, sign in {"accuracy": 1, "macro_auc": 1, "log_loss": -1}.items():
        ends = sorted(sign * other[score][end] for end in ("low", "high"))
        assert gain[score]["value"] == pytest.approx(sign * other[score]["value"], abs=1e-12)
        assert [gain[score]["low"], gain[score]["high"]] == pytest.approx(ends, abs=1e-12)
        assert gain[score]["p_value"] == pytest.approx(other[score]["p_value"], abs=1e-12)
        assert gain[score]["value"] > 0
    errors = [calibration_report(labels, said, groups, 1, 10)[ERROR]["value"] for said in pair]
    assert gain[ERROR]["value"] == pytest.approx(errors[1] - errors[0], abs=1e-12)


def test_scores_are_the_evaluations_own(
    report: dict[str, Any], labels: npt.NDArray[np.int64], probabilities: dict[str, dict[str, Floats]]
) -> None:
    for condition, arms in probabilities.items():
        for arm, said in arms.items():
            metrics = classification_metrics(labels, said, NAMES)
            scores = report["arms"][arm]["conditions"][condition]["scores"]
            for score in ("accuracy", "macro_auc", "log_loss"):
                assert scores[score]["value"] == pytest.approx(metrics[score], abs=1e-9)  # type: ignore[literal-required]


def test_means_count_conditions_alike_and_keep_unseen_corruptions_apart(report: dict[str, Any]) -> None:
    arm = report["arms"][TEST_TIME]
    each = {name: entry["gain"]["accuracy"]["value"] for name, entry in arm["conditions"].items()}
    assert arm["mean"]["corrupted"]["accuracy"]["value"] == pytest.approx(np.mean([*each.values()][1:]), abs=1e-12)
    assert arm["mean"]["held_out"]["accuracy"]["value"] == each["jpeg-3"]
    assert arm["mean"]["drawn"]["accuracy"]["value"] == pytest.approx((each["severe"] + each["gamma-3"]) / 2, abs=1e-12)
    assert [name for name, entry in report["conditions"].items() if entry["held_out"]] == ["jpeg-3"]


def test_the_arm_with_a_twin_is_judged_against_the_twin(report: dict[str, Any]) -> None:
    arm = report["arms"][CORRUPTED]
    assert arm["over_twin"]["corrupted"]["accuracy"]["value"] == pytest.approx(
        arm["mean"]["corrupted"]["accuracy"]["value"] - report["arms"][TWIN]["mean"]["corrupted"]["accuracy"]["value"]
    )
    assert arm["verdicts"]["accuracy"]["gain"]["value"] == arm["over_twin"]["corrupted"]["accuracy"]["value"]
    assert "Against further training" in arm["verdicts"]["accuracy"]["sentence"]


def test_what_helps_is_worth_it_what_changes_nothing_is_not_told_and_what_costs_harms(report: dict[str, Any]) -> None:
    outcomes = {
        name: arm["verdicts"]["accuracy"]["outcome"] for name, arm in report["arms"].items() if "verdicts" in arm
    }
    assert outcomes == {TEST_TIME: "worth_it", TWIN: "not_told", CORRUPTED: "harms"}
    assert "worth it: copies" in report["conclusion"]
    assert "harms: with corruptions." in report["conclusion"]
    assert report["arms"][TWIN]["mean"]["corrupted"]["log_loss"] == {
        "value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0
    }  # fmt: skip


def _entry(value: float, p: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "p_value": p}


@pytest.mark.parametrize(
    ("gain", "clean", "outcome"),
    [
        (_entry(0.1, 0.001), _entry(0.0, 0.9), "worth_it"),
        (_entry(0.1, 0.001), _entry(-0.1, 0.001), "trade"),
        (_entry(0.1, 0.2), _entry(0.0, 0.9), "not_told"),
        (_entry(0.1, 0.2), _entry(-0.1, 0.001), "harms"),
        (_entry(-0.1, 0.001), _entry(0.1, 0.001), "harms"),
        (
            {"value": None, "low": None, "high": None, "p_value": None, "reason": "too few"},
            _entry(0, 1),
            "not_available",
        ),
    ],
)
def test_the_rule_of_the_verdict(gain: Mapping[str, Any], clean: Mapping[str, Any], outcome: str) -> None:
    found = judged({"it": {"title": "it", "against": "none", "gain": gain, "clean": clean}}, "accuracy", 3)["it"]
    assert found["outcome"] == outcome
    assert conclusion({"it": found}, {"it": "this measure"}).endswith("this measure.")


def test_one_gain_among_many_measures_that_do_nothing_has_to_be_larger() -> None:
    one = {"title": "it", "against": "none", "gain": _entry(0.1, 0.02), "clean": _entry(0.0, 0.9)}
    nothing = {**one, "gain": _entry(0.0, 0.9)}
    assert judged({"a": one}, "accuracy", 3)["a"]["outcome"] == "worth_it"
    assert judged({"a": one, "b": nothing, "c": nothing}, "accuracy", 3)["a"]["outcome"] == "not_told"


def test_abstention_below_the_threshold_is_the_plain_count(
    report: dict[str, Any], labels: npt.NDArray[np.int64], probabilities: dict[str, dict[str, Floats]]
) -> None:
    said = probabilities["gamma-3"][PLAIN]
    kept = said.max(axis=1) >= 0.7
    wrong = said.argmax(axis=1) != labels
    found = report["abstention"]["conditions"]["gamma-3"]["below_threshold"]
    assert found["coverage"]["value"] == pytest.approx(kept.mean())
    assert found["error"]["value"] == pytest.approx(wrong[kept].mean())
    assert found["gained"]["value"] == pytest.approx(wrong.mean() - wrong[kept].mean())


def test_the_share_that_keeps_the_clean_error_is_all_of_the_clean_films_and_fewer_of_worse_ones() -> None:
    labels = (np.arange(100) % 3).astype(np.int64)
    confidence = np.linspace(0.99, 0.4, 100)
    truth, other = np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]

    def said(wrong: npt.NDArray[np.bool_]) -> Floats:
        top = np.where(wrong[:, None], other, truth)
        return np.asarray(top * confidence[:, None] + (1 - top) * ((1 - confidence) / 2)[:, None])

    clean, bad = np.arange(100) >= 90, np.arange(100) >= 45  # the least certain tenth, the least certain 55 films
    groups = [str(number) for number in range(100)]
    arms = [ARMS[0]]
    trials = TRIALS[:2]
    given = {trials[0].name: {PLAIN: said(clean)}, trials[1].name: {PLAIN: said(bad)}}
    found = mitigation_report(labels, groups, NAMES, arms, trials, given, 0.7, 1, 100)["abstention"]["conditions"]
    assert found["clean"]["keeps_clean_error"]["coverage"]["value"] == 1.0
    assert found["severe"]["keeps_clean_error"]["coverage"]["value"] == 0.5  # 5 of 50 are wrong, as 10 of 100
    assert found["severe"]["keeps_clean_error"]["error"]["value"] == pytest.approx(0.1)


def test_the_report_is_the_same_again_and_holds_no_time(
    report: dict[str, Any],
    labels: npt.NDArray[np.int64],
    groups: list[str],
    probabilities: dict[str, dict[str, Floats]],
) -> None:
    again = mitigation_report(labels, groups, NAMES, ARMS, TRIALS, probabilities, 0.7, 42, 400)
    assert json.dumps(again, allow_nan=False) == json.dumps(report, allow_nan=False)
    assert "seconds" not in json.dumps(report)


def test_the_table_holds_every_gain(report: dict[str, Any]) -> None:
    table = gains_table(report)
    conditions = len(TRIALS) + 3  # and three means
    assert len(table) == 4 * conditions * 4  # three arms, one of them against its twin too; four scores
    row = table.query(
        f"arm == '{CORRUPTED}' and against == '{TWIN}' and condition == 'mean of held out' and score == 'accuracy'"
    )
    assert row["value"].item() == report["arms"][CORRUPTED]["over_twin"]["held_out"]["accuracy"]["value"]


def test_the_figures_draw_what_there_is_and_nothing_where_there_is_none(
    report: dict[str, Any], probabilities: dict[str, dict[str, Floats]]
) -> None:
    figure = gains_figure(report)
    legends = [text.get_text() for axis in figure.axes for text in axis.get_legend().get_texts()]
    assert legends == [
        "copies, over the model as it is", "further training, over the model as it is",
        "with corruptions, over further training",
    ]  # fmt: skip
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][:4] == [
        "clean", "severe", "gamma-3", "jpeg-3  (held out)"
    ]  # fmt: skip
    few = mitigation_report(np.zeros(N, np.int64), ["g"] * N, NAMES, ARMS, TRIALS, probabilities, 0.99, 1, 20)
    for drawn in (gains_figure(few), abstention_figure(few), abstention_figure(report)):
        assert png_bytes(drawn, dpi=30).startswith(b"\x89PNG")


def test_films_of_one_class_or_of_few_patients_give_reasons_and_no_numbers(
    probabilities: dict[str, dict[str, Floats]],
) -> None:
    one_class = np.zeros(N, np.int64)
    found = mitigation_report(one_class, [f"g{k}" for k in range(N)], NAMES, ARMS, TRIALS, probabilities, 0.7, 1, 100)
    entry = found["arms"][TEST_TIME]["mean"]["corrupted"]["macro_auc"]
    assert entry["value"] is None
    assert "every film is Normal" in entry["reason"]
    few = mitigation_report(
        (np.arange(N) % 3).astype(np.int64), ["g1"] * N, NAMES, ARMS, TRIALS, probabilities, 0.7, 1, 100
    )
    verdict = few["arms"][TEST_TIME]["verdicts"]["accuracy"]
    assert verdict["outcome"] == "not_available"
    assert "1 patient group" in verdict["sentence"]
    assert json.dumps(few, allow_nan=False)


def test_a_threshold_that_nothing_reaches_is_said(
    labels: npt.NDArray[np.int64], groups: list[str], probabilities: dict[str, dict[str, Floats]]
) -> None:
    even = {name: {arm: np.full((N, 3), 1 / 3) for arm in arms} for name, arms in probabilities.items()}
    found = mitigation_report(labels, groups, NAMES, ARMS, TRIALS, even, 0.7, 1, 100)
    below = found["abstention"]["conditions"]["severe"]["below_threshold"]
    assert below["coverage"]["value"] == 0.0
    assert below["error"] == {"value": None, "low": None, "high": None, "reason": "no film is answered"}
    assert found["abstention"]["verdict"]["outcome"] == "not_available"


def test_no_films_and_other_groups_are_refused(probabilities: dict[str, dict[str, Floats]]) -> None:
    with pytest.raises(CxrError, match="0 films"):
        mitigation_report(np.zeros(0, np.int64), [], NAMES, ARMS, TRIALS, {}, 0.7, 1, 10)
    with pytest.raises(CxrError, match="2 groups do not match"):
        mitigation_report(np.zeros(N, np.int64), ["a", "b"], NAMES, ARMS, TRIALS, probabilities, 0.7, 1, 10)


def test_every_arm_sees_the_same_corrupted_films_once() -> None:
    frames = np.random.default_rng(1).integers(1, 200, (5, 32, 32), dtype=np.uint8)
    keys = [f"{number:04x}" for number in range(5)]
    seen: dict[str, list[npt.NDArray[np.uint8]]] = {PLAIN: [], TEST_TIME: []}

    def answer(name: str) -> Any:
        def predict(shown: npt.NDArray[np.uint8], plain: Floats) -> Floats:
            seen[name].append(shown.copy())
            assert name == PLAIN or len(plain) == len(shown)
            return np.full((len(shown), 3), 1 / 3)

        return predict

    arms = [Arm(PLAIN, "plain", 1, answer(PLAIN)), Arm(TEST_TIME, "copies", 2, answer(TEST_TIME), reuses=True)]
    run = run_arms(arms, TRIALS, ArrayFrames(frames), keys, 7)
    for shown in seen.values():
        assert [s.tobytes() for s in shown] == [corrupt(frames, keys, t.preset, 7).tobytes() for t in TRIALS]
    assert run.probabilities["severe"][TEST_TIME].shape == (5, 3)
    assert run.seconds[TEST_TIME] >= run.seconds[PLAIN]
    with pytest.raises(CxrError, match="No films"):
        run_arms(arms, TRIALS, ArrayFrames(frames[:0]), [], 7)
    broken = [Arm(PLAIN, "plain", 1, lambda shown, _: np.full((len(shown), 3), np.nan))]
    with pytest.raises(CxrError, match="no numbers"):
        run_arms(broken, TRIALS, ArrayFrames(frames), keys, 7)


def test_conditions_are_named_like_the_registry_and_held_out_ones_are_marked() -> None:
    settings, robustness = MitigationSettings(), RobustnessSettings()
    trials = trials_of(settings, robustness)
    assert [trial.name for trial in trials] == ["clean", *settings.conditions]
    assert {t.name for t in trials if t.held_out} == {"jpeg-3", "motion_blur-3", "poisson_noise-3"}
    assert set(drawn_kinds(settings)) == set(CORRUPTIONS) - set(settings.held_out)
    for wrong in ("sepia-3", "gamma-9", "gamma", "clinical-x"):
        with pytest.raises(CxrError):
            trials_of(MitigationSettings(conditions=(wrong,)), robustness)
    with pytest.raises(CxrError, match="leaves no corruption"):
        drawn_kinds(MitigationSettings(held_out=tuple(CORRUPTIONS)))
    with pytest.raises(CxrError, match="'sepia'"):
        drawn_kinds(MitigationSettings(held_out=("sepia",)))
    assert trials_of(MitigationSettings(conditions=()), robustness) == (Trial(trials[0].preset, False),)
