"""The failure report counts every error, shows the worst films and finds what errors go with inside a class."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, mannwhitneyu
from scipy.stats.contingency import odds_ratio

from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.failure_association import Covariate, associations, covariates_of
from cxr_core.trust.failure_figures import association_figure, contact_sheet, pairs_figure
from cxr_core.trust.failure_findings import association_sentences
from cxr_core.trust.failures import failure_report

NAMES = ("Normal", "Pneumonia", "Tuberculosis")
QUICK = SubgroupSettings(permutations=3999, worst_films=10)
N = 900


def data_set(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Films whose errors are planted: dark normals are called ill, films of source west are wrong more often."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N)
    index = pd.DataFrame(
        {
            "image_id": [f"{row:016x}" for row in range(N)],
            "sha256": [f"{row:064x}" for row in range(N)],
            "status": "accepted",
            "label_index": label,
            "source": np.where(rng.random(N) < 0.3, "west", "east"),
            "group_id": [f"g{row}" for row in range(N)],
            "width": pd.array(rng.integers(400, 3000, N), "Int64"),
            "height": pd.array(rng.integers(400, 3000, N), "Int64"),
            "flags": np.where(rng.random(N) < 0.1, "tint", ""),
            **{
                name: rng.uniform(0, 100, N)
                for name in ("mean", "std", "sharpness", "edge_density", "tint", "dark_share", "bright_share")
            },
        }
    )
    chance = np.where(index["source"] == "west", 0.35, 0.08) + np.where((label == 0) & (index["mean"] < 30), 0.5, 0)
    wrong = rng.random(N) < chance
    said = np.where(wrong, (label + 1) % 3, label)
    p = rng.dirichlet((0.5, 0.5, 0.5), N)  # the two classes that are not predicted share the rest unevenly
    largest, every = p.argmax(axis=1), np.arange(N)
    p[every, largest], p[every, said] = p[every, said], p[every, largest]
    table = index[["image_id", "label_index", "source", "group_id"]].assign(split="test", trained_model="m" * 64)
    return table.assign(**{f"p_{k}": p[:, k] for k in range(3)}, predicted_index=said), index


@pytest.fixture(scope="module")
def made() -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    rows, index = data_set()
    return failure_report(rows, index, NAMES, QUICK, 0, 300), rows, index


def entry_of(report: dict[str, Any], outcome: str, covariate: str, kind: str = "number") -> dict[str, Any]:
    key = (outcome, covariate, kind)
    (found,) = [e for e in report["associations"] if (e["outcome"], e["covariate"], e["kind"]) == key]
    return found


def test_every_error_is_counted_once_and_shares_are_of_the_true_class(made: Any) -> None:
    report, rows, _ = made
    truth, said = rows["label_index"].to_numpy(), rows["predicted_index"].to_numpy()
    assert report["counts"]["errors"] == (truth != said).sum() == sum(pair["count"] for pair in report["pairs"])
    assert report["false_positives"]["count"] == ((truth == 0) & (said != 0)).sum()
    assert report["false_negatives"]["value"] == pytest.approx((said[truth != 0] == 0).mean())
    first = report["pairs"][0]
    assert first["count"] == max(pair["count"] for pair in report["pairs"])
    assert first["of_true"]["films"] == (truth == NAMES.index(first["true"])).sum()
    assert sum(pair["of_errors"]["value"] for pair in report["pairs"]) == pytest.approx(1.0)
    missed = report["per_class"]["Pneumonia"]["false_negatives"]
    assert missed["count"] == ((truth == 1) & (said != 1)).sum()
    assert report["bias"]["value"] == pytest.approx(
        report["false_positives"]["value"] - report["false_negatives"]["value"]
    )
    json.dumps(report, allow_nan=False)


def test_the_worst_films_come_first_and_no_temperature_changes_their_order(made: Any) -> None:
    report, rows, index = made
    worst = report["worst"]
    assert len(worst) == 10
    assert all(film["label"] != film["predicted"] for film in worst)
    margins = [film["margin"] for film in worst]
    confidences = [film["confidence"] for film in worst]
    assert confidences != sorted(confidences, reverse=True)  # the order of confidences is another one
    assert margins == sorted(margins, reverse=True)
    logits = np.log(rows[["p_0", "p_1", "p_2"]].to_numpy()) / 3.0
    flat = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cooled = rows.assign(**{f"p_{k}": flat[:, k] for k in range(3)})
    again = failure_report(cooled, index, NAMES, QUICK, 0, 100)
    assert [film["image_id"] for film in again["worst"]] == [film["image_id"] for film in worst]
    assert again["counts"] == report["counts"]
    row = index.set_index("image_id").loc[worst[0]["image_id"]]
    assert (worst[0]["source"], worst[0]["flags"], worst[0]["mean"]) == (row["source"], row["flags"], row["mean"])


def test_planted_associations_are_found_and_the_others_are_not(made: Any) -> None:
    report = made[0]
    sure = {(e["outcome"], e["covariate"]) for e in report["associations"] if e["holm"] and e["holm"] <= 0.05}
    assert ("error", "west") in sure
    assert ("false_positive", "mean") in sure
    assert sure <= {
        ("error", "west"), ("error", "east"), ("error", "mean"), ("false_positive", "mean"),
        ("false_positive", "west"), ("false_positive", "east"), ("false_negative", "west"), ("false_negative", "east"),
    }  # fmt: skip
    assert any("times the odds" in sentence and "west" in sentence for sentence in report["sentences"])
    assert any("lower mean grey level" in sentence for sentence in report["sentences"])
    west = entry_of(report, "error", "west", "source")
    assert west["low"] < west["value"] < west["high"]
    assert west["low"] > 1
    tested = np.array([e["p"] for e in report["associations"] if e["p"] is not None])
    q = [e["q"] for e in report["associations"] if e["q"] is not None]
    assert q == pytest.approx(false_discovery_control(tested).tolist())


def test_measures_inside_one_class_agree_with_scipy(made: Any) -> None:
    report, rows, index = made
    normal = (rows["label_index"] == 0).to_numpy()
    wrong = (rows["predicted_index"] != 0).to_numpy()
    grey = index["mean"].to_numpy()
    u = mannwhitneyu(grey[normal & wrong], grey[normal & ~wrong]).statistic
    pairs = (normal & wrong).sum() * (normal & ~wrong).sum()
    found = entry_of(report, "false_positive", "mean")
    assert found["value"] == pytest.approx(2 * u / pairs - 1, abs=1e-9)
    west = (index["source"] == "west").to_numpy()
    cells = [[(normal & wrong & w).sum(), (normal & ~wrong & w).sum()] for w in (west, ~west)]
    sample = odds_ratio(cells, kind="sample").statistic
    assert entry_of(report, "false_positive", "west", "source")["value"] == pytest.approx(sample, abs=1e-9)


def test_what_only_goes_with_the_class_is_no_association_with_errors() -> None:
    """A class that is hard and dark: over all films errors go with darkness, inside each class they do not."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 600)
    wrong = rng.random(600) < np.where(labels == 1, 0.4, 0.05)
    dark = Covariate("mean", "mean grey level", "number", rng.normal(100 - 60 * labels, 10))
    groups = np.array([f"g{row}" for row in range(600)], object)
    (entry,) = associations({"error": (np.ones(600, bool), wrong)}, [dark], labels, groups, QUICK, 0, 300)
    assert entry["p"] > 0.05
    assert abs(entry["value"]) < 0.2
    (pooled,) = associations({"error": (np.ones(600, bool), wrong)}, [dark], labels * 0, groups, QUICK, 0, 300)
    assert pooled["p"] < 0.001
    assert association_sentences([entry], 0.05) == [
        "None of 1 associations of errors with quality or source is significant after Holm."
    ]


def test_figures_draw_pairs_films_and_associations(made: Any) -> None:
    report = made[0]
    frames = np.random.default_rng(0).integers(0, 255, (len(report["worst"]), 24, 24), np.uint8)
    sheet = contact_sheet(report["worst"], frames)
    captions = [axis.get_xlabel() for axis in sheet.axes]
    assert all(film["image_id"] in caption for film, caption in zip(report["worst"], captions, strict=False))
    for figure in (sheet, pairs_figure(report), association_figure(report), contact_sheet([], frames[:0])):
        assert png_bytes(figure, dpi=40)


def test_no_error_one_class_one_patient_or_no_normal_class_say_what_is_not_available() -> None:
    rows, index = data_set()
    right = rows.assign(**{f"p_{k}": (rows["label_index"] == k).astype(float) for k in range(3)})
    clean = failure_report(right, index, NAMES, QUICK, 0, 100)
    assert clean["counts"]["errors"] == 0
    assert clean["worst"] == []
    assert clean["pairs"][0]["of_true"]["high"] > 0
    assert "not available" in clean["sentences"][0]
    assert all(entry["value"] is None and entry["reason"] for entry in clean["associations"])
    small = rows.head(3).assign(label_index=1)
    few = failure_report(small, index, NAMES, QUICK, 0, 100)
    assert few["bias"]["value"] is None
    patient = failure_report(rows.assign(group_id="g"), index, NAMES, QUICK, 0, 100)
    assert "one patient group" in patient["between_diseases_lead"]["reason"]
    other = failure_report(rows, index, ("A", "B", "C"), QUICK, 0, 100)
    assert other["false_positives"]["reason"] == "no class is called Normal"
    flat = failure_report(rows.assign(p_0=1 / 3, p_1=1 / 3, p_2=1 / 3), index, NAMES, QUICK, 0, 100)
    assert flat["worst"][0]["margin"] == 0.0
    for report in (clean, few, patient, other, flat):
        json.dumps(report, allow_nan=False)
        assert png_bytes(pairs_figure(report), dpi=40)
        assert png_bytes(association_figure(report), dpi=40)
    with pytest.raises(CxrError, match="p_0"):
        failure_report(rows.assign(p_0=np.inf), index, NAMES, QUICK, 0, 100)
    with pytest.raises(CxrError, match="No predictions of the val split"):
        failure_report(rows, index, NAMES, QUICK, 0, 100, split="val")


def test_unknown_numbers_are_left_out_and_constant_ones_are_not_asked_about() -> None:
    rows, index = data_set()
    index["tint"] = 0.0
    index["mean"] = index["mean"].where(np.arange(N) % 7 > 0)
    names = [covariate.name for covariate in covariates_of(index) if covariate.kind == "number"]
    assert "tint" not in names
    report = failure_report(rows, index, NAMES, QUICK, 0, 100)
    found = entry_of(report, "error", "mean")
    assert found["wrong"] + found["right"] == (np.arange(N) % 7 > 0).sum()
