"""The shortcut audit as a whole: planted shortcuts flagged, clean twins not, nothing said that cannot be known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from phantom_site import phantom_films

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.plotting import png_bytes
from cxr_core.settings import LABELS
from cxr_core.settings_trust import ShortcutSettings
from cxr_core.trust.shortcut_audit import audited_films, shortcut_audit
from cxr_core.trust.shortcut_features import Seen, look
from cxr_core.trust.shortcut_figures import inside_figure, marks_figure, source_figure, views_figure

QUICK = ShortcutSettings(permutations=99, table_permutations=199)


def audit_of(films: pd.DataFrame, seen: Seen, **more: Any) -> dict[str, Any]:
    return shortcut_audit(films, seen, LABELS, more.pop("settings", QUICK), 42, 300, **more)


def phantoms(seed: int, shortcut: float) -> dict[str, Any]:
    films, frames = phantom_films(seed, shortcut)
    return audit_of(films, look(films, ArrayFrames(frames), 6.0))


def made(n: int = 120, seed: int = 0, tell: float = 0.0, sources: tuple[str, ...] = ("north", "south")) -> tuple:
    """Films whose metadata tell the label in a share of them; two films a patient; no pixels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n // 2) % 3, 2)
    told = np.where(np.repeat(rng.random(n // 2) < tell, 2), labels, rng.integers(0, 3, n))
    films = pd.DataFrame(
        {
            "image_id": [f"{k:016x}" for k in rng.permutation(n)],
            "label": np.array(LABELS)[labels],
            "label_index": labels,
            "source": np.array(sources)[rng.integers(0, len(sources), n)],
            "group_id": [f"g{k // 2}" for k in range(n)],
        }
    )
    marks = pd.DataFrame({name: rng.random(n) < 0.2 for name in ("white_box", "letters", "black_border", "tint")})
    features = {
        "metadata": np.column_stack([300.0 + 100 * told, rng.normal(size=n)]),
        "border": rng.normal(size=(n, 12)),
        "intensity": labels[:, None] + rng.normal(0, 0.6, (n, 3)),
    }
    return films, Seen(features, marks)


def predictions_for(films: pd.DataFrame, seed: int, noise: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    logits = np.eye(3)[films["label_index"]] + rng.normal(0, noise, (len(films), 3))
    p = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    table = films[["image_id", "label_index", "source", "group_id"]].assign(split="val")
    table.loc[table.index % 4 < 2, "split"] = "test"
    return table.assign(**{f"p_{k}": p[:, k] for k in range(3)})


def test_a_planted_site_shortcut_is_flagged_and_its_clean_twin_is_not():
    planted, clean = phantoms(0, 0.9), phantoms(0, 0.0)
    assert planted["verdict"]["flagged"] == ["lung_free"]
    assert planted["source"]["cramers_v"]["value"] > 0.6
    assert planted["source"]["cramers_v"]["p_value"] < 0.05
    assert clean["verdict"]["passed"], clean["verdict"]["sentence"]
    assert clean["source"]["cramers_v"]["p_value"] > 0.2
    for view in clean["views"]:
        assert view["macro_auc"]["low"] < 0.55, view["name"]  # the lungs' lesions reach no view


@pytest.mark.slow
def test_ten_seeds_of_planted_shortcuts_are_flagged_and_their_clean_twins_are_not():
    flagged = {s: [phantoms(seed, s)["verdict"]["flagged"] for seed in range(10)] for s in (0.9, 0.0)}
    assert flagged == {0.9: [["lung_free"]] * 10, 0.0: [[]] * 10}


def test_equal_films_in_another_order_give_the_same_report():
    films, seen = made(tell=0.5)
    told = {"pretrained": np.random.default_rng(3).normal(size=(len(films), 5))}
    predictions = predictions_for(films, 1, 0.5)
    before = audit_of(films, seen, predictions=predictions, embeddings=told)
    order = np.random.default_rng(9).permutation(len(films))
    turned = Seen({name: values[order] for name, values in seen.features.items()}, seen.marks.iloc[order])
    after = audit_of(
        films.iloc[order],
        turned,
        predictions=predictions.sample(frac=1, random_state=0),
        embeddings={name: values[order] for name, values in told.items()},
    )
    assert after == before


def test_the_share_of_a_model_that_files_explain_is_told_beside_it_and_flagged():
    films, seen = made(240, tell=0.9)
    report = audit_of(films, seen, predictions=predictions_for(films, 2, 0.5))
    share = report["model"]["explained"]
    metadata = report["model"]["views"]["metadata"]
    assert share == metadata
    expected = (metadata["view_auc"] - 0.5) / (metadata["model_auc"] - 0.5)
    assert share["value"] == pytest.approx(expected)
    assert share["low"] < share["value"] < share["high"]
    verdict = report["verdict"]
    assert verdict["flagged"] == ["explained", "lung_free"]
    assert (verdict["value"], verdict["limit"], verdict["passed"]) == (share["value"], 0.5, False)
    assert f"{share['value']:.0%}" in verdict["sentence"]
    assert "p = " in verdict["sentence"]


def test_views_that_see_lungs_count_for_nothing_in_the_verdict():
    films, seen = made(240, tell=0.0)
    report = audit_of(films, seen, predictions=predictions_for(films, 2, 0.3))
    by_name = {view["name"]: view for view in report["views"]}
    assert by_name["intensity"]["macro_auc"]["low"] > 0.9
    assert "p_holm" not in by_name["intensity"]
    assert by_name["metadata"]["p_holm"] == pytest.approx(min(1, 2 * by_name["metadata"]["null"]["p_value"]), abs=0.5)
    assert report["verdict"]["passed"], report["verdict"]["sentence"]
    assert report["verdict"]["measure"] == "explained"


def test_the_source_is_told_from_embeddings_that_hold_it_and_not_from_noise():
    films, seen = made(160)
    rng = np.random.default_rng(0)
    holds = (films["source"] == "south").to_numpy()[:, None] + rng.normal(0, 0.6, (160, 4))
    report = audit_of(films, seen, embeddings={"trained": holds, "noise": rng.normal(size=(160, 4))})
    found = report["source"]["predicted"]
    assert found["from"]["trained"]["accuracy"]["low"] > found["majority_share"]
    assert found["from"]["trained"]["null"]["p_value"] == pytest.approx(1 / 100)
    assert found["from"]["noise"]["null"]["p_value"] > 0.02
    assert found["majority_share"] == pytest.approx(films["source"].value_counts(normalize=True).iloc[0])


def test_marks_are_counted_by_class_and_source():
    films, seen = made(120)
    seen.marks["white_box"] = (films["label"] == "Tuberculosis").to_numpy()
    seen.marks["tint"] = False
    by_name = {mark["name"]: mark for mark in audit_of(films, seen)["marks"]}
    box = by_name["white_box"]
    assert box["by_class"] == {
        "Normal": {"marked": 0, "films": 40},
        "Pneumonia": {"marked": 0, "films": 40},
        "Tuberculosis": {"marked": 40, "films": 40},
    }
    assert sum(count["marked"] for count in box["by_source"].values()) == 40
    assert box["label"]["value"] == pytest.approx(1, abs=0.01)
    assert box["label"]["p_holm"] == pytest.approx(3 / 200)  # three marks are tested
    assert by_name["tint"]["label"]["reason"] == "no film carries it"
    assert by_name["tint"]["label"]["p_holm"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "north"}, "all films come from one source, north"),
        ({"source": ""}, "no film names its source"),
    ],
)
def test_without_several_sources_nothing_is_said_of_them_and_the_rest_is_judged(change: dict, said: str):
    films, seen = made(120, tell=0.9)
    films = films.assign(**change)
    told = {"pretrained": seen.features["border"]}
    report = audit_of(films, seen, predictions=predictions_for(films, 0, 0.5), embeddings=told)
    assert said in report["source"]["cramers_v"]["reason"]
    assert said in report["source"]["predicted"]["from"]["pretrained"]["accuracy"]["reason"]
    assert "one source" in report["model"]["inside_against_pooled"]["difference"]["reason"]
    assert "lung_free" in report["verdict"]["flagged"]
    assert said in report["verdict"]["sentence"]
    for draw in (inside_figure, marks_figure, source_figure):
        assert png_bytes(draw(report)).startswith(b"\x89PNG")


def test_one_class_a_source_is_told_by_the_table_and_has_no_area_inside():
    films, seen = made(120)
    films = films.assign(source=films["label"].map({"Normal": "a", "Pneumonia": "b", "Tuberculosis": "c"}))
    report = audit_of(films, seen, predictions=predictions_for(films, 0, 0.5))
    assert report["source"]["one_class_sources"] == ["a", "b", "c"]
    assert report["source"]["cramers_v"]["value"] == pytest.approx(1)
    assert (
        "no source has films with and without disease" in report["model"]["inside_against_pooled"]["inside"]["reason"]
    )
    assert all(entry["value"] is None for entry in report["model"]["inside"].values())
    assert png_bytes(inside_figure(report)).startswith(b"\x89PNG")


def test_a_class_with_too_few_patients_is_not_available_and_does_not_pass():
    films, seen = made(60)
    keep = ~((films["label"] == "Tuberculosis") & (films["group_id"] != "g2"))
    seen = Seen({name: values[keep] for name, values in seen.features.items()}, seen.marks[keep])
    report = audit_of(films[keep], seen, predictions=predictions_for(films, 0, 0.5))
    assert all("Tuberculosis lie in one fold" in view["macro_auc"]["reason"] for view in report["views"])
    assert report["verdict"]["passed"] is False
    assert report["verdict"]["value"] is None
    assert "not measured" in report["verdict"]["sentence"]
    assert png_bytes(views_figure(report, 0.6)).startswith(b"\x89PNG")


def test_a_model_that_says_the_same_of_every_film_explains_nothing():
    films, seen = made(120)
    same = predictions_for(films, 0, 0.5).assign(p_0=1 / 3, p_1=1 / 3, p_2=1 / 3)
    report = audit_of(films, seen, predictions=same)
    assert "not above chance" in report["model"]["explained"]["reason"]
    assert "not above chance" in report["verdict"]["sentence"]
    none = audit_of(films, seen, predictions=same.assign(split="val"))
    assert "no audited film is in the test split" in none["model"]["explained"]["reason"]
    assert png_bytes(inside_figure(none)).startswith(b"\x89PNG")


def test_the_figures_show_every_view_and_the_model():
    films, seen = made(160, tell=0.6)
    report = audit_of(films, seen, predictions=predictions_for(films, 0, 0.5))
    axis = views_figure(report, 0.6).axes[0]
    shown = [label.get_text().replace("\n", " ") for label in axis.get_yticklabels()]
    assert shown == [*(view["title"] for view in report["views"]), "the model, 80 test films"]
    assert [label.get_text() for label in inside_figure(report).axes[0].get_yticklabels()][:2] == [
        "pooled", "inside sources"
    ]  # fmt: skip
    assert len(source_figure(report).axes[0].get_yticklabels()) == 2


def test_of_too_many_films_whole_patients_are_drawn():
    films, _ = made(400)
    few = audited_films(films, ShortcutSettings(max_films=100), 0)
    assert 90 <= len(few) <= 100
    assert (few.groupby("group_id").size() == 2).all()
    assert few["image_id"].is_monotonic_increasing
    assert len(audited_films(films, QUICK, 0)) == 400
