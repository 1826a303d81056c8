"""Whether distances warn of lost accuracy: rank correlations, first severities, and the sentences about them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_core.errors import CxrError
from cxr_core.plotting import png_bytes
from cxr_core.robustness.shift import Version
from cxr_core.robustness.shift_distances import DISTANCES
from cxr_core.robustness.shift_figures import first_seen_figure, ladder_figure, null_units_figure
from cxr_core.robustness.shift_report import published_table, shift_report, shift_table
from cxr_core.robustness.shift_tables import clean_films, versions_in
from cxr_core.robustness.shift_warning import accuracy_loss, association, early_warning, weighted_spearman
from cxr_core.settings_stress import ShiftSettings

QUICK = ShiftSettings(permutations=3999, frechet_permutations=39, halves=40, matched_halves=5, max_films=40)
GROUPS = [f"g{k:02}" for k in range(40)]
KINDS = ("blur", "gamma", "noise", "rotation", "shift")


@pytest.fixture(scope="module")
def report() -> Any:
    """Five corruptions: two move embeddings and then cost accuracy, two move them only, one does nothing."""
    rng = np.random.default_rng(0)
    clean = np.abs(1 + rng.normal(size=(40, 12)))
    versions = {}
    for kind, severity in itertools.product(KINDS, range(1, 6)):
        step = {"gamma": 0.0, "rotation": 0.2, "shift": 0.15}.get(kind, 0.3)
        moved = clean + (step > 0) * 0.05 * rng.normal(size=clean.shape) + step * severity
        correct = np.ones(40, np.bool_)
        if kind in ("blur", "noise") and severity >= 3:
            correct[: 6 * (severity - 1)] = False
        versions[f"{kind}-{severity}"] = Version(moved, correct, kind, severity)
    versions["clinical"] = Version(clean + 0.3, np.ones(40, np.bool_), "clinical", 0)
    return shift_report(Version(clean, np.ones(40, np.bool_)), versions, GROUPS, QUICK, 200)


def test_weighted_ranks_are_those_of_repeated_values() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, 25).astype(float), rng.normal(size=25)
    weights = rng.integers(0, 4, (20, 25)).astype(float)
    found = weighted_spearman(x, y, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        assert value == pytest.approx(spearmanr(np.repeat(x, row), np.repeat(y, row)).statistic, abs=1e-9)
    assert np.isnan(weighted_spearman(np.ones(25), y, weights)).all()


def test_the_accuracy_lost_is_tested_by_exchanging_versions_of_groups() -> None:
    correct = np.ones(9, np.bool_)
    worse = np.array([False] * 6 + [True] * 3)
    version = Version(np.zeros((9, 1)), worse, "blur", 1)
    groups = ["a", "a", *"bcdefgh"]
    settings = ShiftSettings(permutations=9999)
    clean = Version(np.zeros((9, 1)), correct)
    found = accuracy_loss(clean, {"blur-1": version, "blur-2": clean}, groups, settings, 300)
    per_group = np.array([2, 1, 1, 1, 1, 0, 0, 0])
    every = [np.dot(signs, per_group) for signs in itertools.product([-1, 1], repeat=8)]
    assert found["blur-1"]["value"] == pytest.approx(6 / 9)
    assert found["blur-1"]["p"] == pytest.approx(np.mean(np.array(every) >= 6), abs=0.01)
    assert found["blur-1"]["holm"] == pytest.approx(2 * found["blur-1"]["p"])
    assert found["blur-1"]["low"] < 6 / 9 < found["blur-1"]["high"]
    assert found["blur-2"]["value"] == 0
    assert found["blur-2"]["p"] == 1
    assert not found["blur-2"]["beyond"]


def test_the_association_is_the_rank_correlation_over_conditions_with_corruptions_drawn_whole(report: Any) -> None:
    from scipy.stats import spearmanr

    entries = report["conditions"].values()
    for name in ("frechet", "norm_shift", "cosine"):
        x = [abs(entry["distances"][name]["value"]) for entry in entries]
        y = [entry["accuracy_loss"]["value"] for entry in entries]
        found = report["association"][name]
        assert found["value"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-9)
        assert found["low"] < found["value"] < found["high"]
        assert found["corruptions"] == 6
    graded = [entry for entry in entries if entry["severity"] > 0]
    plain = spearmanr([e["severity"] for e in graded], [e["accuracy_loss"]["value"] for e in graded]).statistic
    assert report["association_of_severity"]["value"] == pytest.approx(plain, abs=1e-9)
    assert any(f"that of the severity alone is {plain:.2f}" in sentence for sentence in report["sentences"])
    one = {name: entry for name, entry in report["conditions"].items() if entry["corruption"] == "blur"}
    losses = {name: entry["accuracy_loss"] for name, entry in one.items()}
    assert association(one, losses, 0, 50)["mmd"]["reason"] == "1 corruptions: an interval needs 5"


def test_each_ladder_ends_as_it_was_built(report: Any) -> None:
    rows = report["early_warning"]["exchange"]["energy"]["corruptions"]
    assert {name: row["outcome"] for name, row in rows.items()} == {
        "blur": "earlier", "noise": "earlier", "rotation": "no_loss", "shift": "no_loss", "gamma": "neither"
    }  # fmt: skip
    assert rows["blur"]["distance"] == 1
    assert rows["blur"]["accuracy"] in (3, 4)
    assert report["early_warning"]["exchange"]["energy"]["severities_earlier"]["value"] >= 2
    assert "reason" in report["early_warning"]["exchange"]["cosine"]  # an exchange leaves it as it is
    assert "counts" in report["early_warning"]["other_films"]["cosine"]


@pytest.mark.parametrize(
    ("distance", "accuracy", "outcome"),
    [
        ("01111", "00001", "earlier"), ("00100", "00111", "same"), ("00011", "01111", "later"),
        ("00000", "00001", "missed"), ("00001", "00000", "no_loss"), ("00000", "00000", "neither"),
    ],
)  # fmt: skip
def test_outcomes_compare_the_smallest_severities(distance: str, accuracy: str, outcome: str) -> None:
    conditions = {
        f"blur-{s}": {
            "corruption": "blur",
            "severity": s,
            "distances": {
                name: {"value": 1.0, "beyond": distance[s - 1] == "1", "other_films": {"value": 1.0, "beyond": False}}
                for name in DISTANCES
            },
        }
        for s in range(1, 6)
    }
    losses = {f"blur-{s}": {"value": 0.1, "beyond": accuracy[s - 1] == "1"} for s in range(1, 6)}
    found = early_warning(conditions, losses)
    assert found["exchange"]["mmd"]["corruptions"]["blur"]["outcome"] == outcome
    assert found["exchange"]["mmd"]["counts"] == {
        name: int(name == outcome) for name in found["exchange"]["mmd"]["counts"]
    }
    assert found["other_films"]["mmd"]["corruptions"]["blur"]["distance"] is None


def test_sentences_and_tables_say_the_numbers_of_the_report(report: Any) -> None:
    counts = report["early_warning"]["other_films"]["c2st"]["counts"]
    falls = counts["earlier"] + counts["same"] + counts["later"] + counts["missed"]
    (sentence,) = [s for s in report["sentences"] if s.startswith("Two-sample AUC, against other clean films")]
    assert f"of {falls} corruptions under which accuracy falls" in sentence
    assert f"it is seen in {counts['no_loss']}." in sentence
    (row,) = report["report_table"]
    assert row["condition"] == "clinical"
    assert row["frechet"] == report["conditions"]["clinical"]["distances"]["frechet"]
    assert any(s.startswith(f"Clinical: cosine distance {row['cosine']['value']:.3g}") for s in report["sentences"])
    halves = report["distances"]["frechet"]["halves"]
    assert published_table(report).iloc[0]["Fréchet distance, clean halves high"] == halves["high"]
    table = shift_table(report)
    assert len(table) == 26 * len(DISTANCES)
    chosen = table[(table["condition"] == "blur-2") & (table["distance"] == "mmd")].iloc[0]
    assert chosen["holm"] == report["conditions"]["blur-2"]["distances"]["mmd"]["holm"]
    json.dumps(report, allow_nan=False)


def test_a_report_says_when_its_exchanges_are_too_few_for_its_tests() -> None:
    rows = np.random.default_rng(3).normal(size=(20, 4))
    clean, moved = (Version(rows + by, np.ones(20, np.bool_), "blur", 1) for by in (0.0, 9.0))
    few = QUICK.model_copy(update={"permutations": 99})
    found = [shift_report(clean, {"blur-1": moved}, GROUPS[:20], settings, 50) for settings in (few, QUICK)]
    assert "With 99 exchanges of 20 groups no p-value can be below 0.01" in found[0]["sentences"][-1]
    assert not any("nothing can be significant" in sentence for sentence in found[1]["sentences"])


def test_a_report_of_too_few_groups_is_whole_and_says_why() -> None:
    rows = np.random.default_rng(2).normal(size=(3, 4))
    version = Version(rows, np.ones(3, np.bool_), "blur", 1)
    found = shift_report(Version(rows, np.ones(3, np.bool_)), {"blur-1": version}, ["a", "b", "c"], QUICK, 50)
    assert "3 films of 3 patient groups" in found["sentences"][0]
    assert shift_table(found)["reason"].str.contains("patient groups").all()
    assert found["conditions"]["blur-1"]["accuracy_loss"]["low"] is None
    for figure in (null_units_figure(found), ladder_figure(found, "mmd"), first_seen_figure(found)):
        assert png_bytes(figure).startswith(b"\x89PNG")
    json.dumps(found, allow_nan=False)


def tables(n: int = 30) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Embeddings, predictions and one partition of conditions of n test films."""
    rng = np.random.default_rng(4)
    films = pd.DataFrame({"image_id": [f"i{k:02}" for k in range(n)], "split": "test", "label_index": np.arange(n) % 3})
    films["group_id"] = [f"g{k // 2}" for k in range(n)]
    logits = pd.DataFrame(rng.normal(size=(n, 3)), columns=["l_0", "l_1", "l_2"])
    embedded = films.assign(embedding=list(rng.normal(size=(n, 5)).astype(np.float32)))
    swept = [
        films.drop(columns="split")
        .join(logits)
        .assign(condition=f"blur-{s}", severity=s, embedding=embedded["embedding"])
        for s in (1, 2)
    ]
    return embedded, films.join(logits), pd.concat(swept, ignore_index=True)


def test_films_are_matched_by_name_and_only_drawn_ones_keep_their_embeddings() -> None:
    embedded, predictions, swept = tables()
    settings = ShiftSettings(max_films=12)
    plain = clean_films(embedded, predictions, 3, settings)
    mixed = [table.sample(frac=1, random_state=3) for table in (embedded, predictions, swept)]
    films = clean_films(mixed[0], mixed[1], 3, settings)
    np.testing.assert_array_equal(films.version.embeddings, plain.version.embeddings)
    assert films.version.embeddings.shape == (12, 5)
    expected = predictions[["l_0", "l_1", "l_2"]].to_numpy().argmax(axis=1) == predictions["label_index"]
    np.testing.assert_array_equal(films.version.correct, expected)
    found = versions_in(mixed[2], films, 3)
    assert {name: (one.corruption, one.severity) for name, one in found.items()} == {
        "blur-1": ("blur", 1), "blur-2": ("blur", 2)
    }  # fmt: skip
    np.testing.assert_array_equal(found["blur-2"].embeddings, films.version.embeddings)
    with pytest.raises(CxrError, match="Condition blur-1 holds other films"):
        versions_in(swept.iloc[1:], plain, 3)
    with pytest.raises(CxrError, match="hold other test films"):
        clean_films(embedded.iloc[1:], predictions, 3, settings)
