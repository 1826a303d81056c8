"""The trial of the maps as a whole: randomised weights, the verdict's rule, the second training's settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_core.errors import CxrError
from cxr_core.explain.faithfulness import Judged, judge_maps
from cxr_core.explain.faithfulness_films import ExplainedFilms, choose_films
from cxr_core.explain.faithfulness_verdict import lung_attention
from cxr_core.explain.methods import explain
from cxr_core.explain.randomisation import cascade, levels, randomised
from cxr_core.explain.second_training import second_record, second_settings
from cxr_core.imaging.preprocess import Box, Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings import load_settings
from cxr_core.settings_sections import ModelSettings
from cxr_core.settings_stress import FaithfulnessSettings
from cxr_core.training.hyperparameters import Hyperparameters

SIDE = 48
PREPROCESSING = Preprocessing(SIDE, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
NAMES = ("Normal", "Pneumonia", "Tuberculosis")


@pytest.fixture(scope="module")
def model() -> Classifier:
    return build_classifier(ModelSettings(backbone="test_efficientnet", weights="none"), 3, 0).model.eval()


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 255, (6, SIDE, SIDE)).astype(np.uint8)


def entry(value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "films": 9}


def report_of(difference: dict[str, Any], per_class: dict[str, Any] | None = None) -> dict[str, Any]:
    shares = {name: {"overall": entry(0.3, 0.2, 0.4)} for name in ("energy", "centre", "uniform")}
    lungs = {**shares, "against_centre": {"overall": difference, "per_class": per_class or {}}}
    return {"methods": {"gradcam": {"title": "Grad-CAM", "regions": {"lungs": lungs}}}}


def test_every_weight_belongs_to_one_level_and_the_head_is_the_first(model: Classifier) -> None:
    found = levels(model)
    assert found[0] == ("head", ["head"])
    assert found[-1][0] == "stem"
    named = [name for _, part in found for name in part]
    owners = {name for name, one in model.named_modules() if next(one.parameters(recurse=False), None) is not None}
    assert len(named) == len(set(named))
    assert set(named) == owners


def test_the_cascade_changes_the_levels_so_far_and_nothing_else(model: Classifier, frames: np.ndarray) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = levels(model)
    for place, (_, network) in enumerate(randomised(model, frames, PREPROCESSING, 1)):
        changed = {part for _, parts in names[: place + 1] for part in parts}
        for name, value in network.state_dict().items():
            if name.rpartition(".")[0] not in changed:
                assert torch.equal(value, before[name])
        with torch.inference_mode():
            logits = network(torch.from_numpy(PREPROCESSING.tensor(frames)))
        assert torch.isfinite(logits).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    weights = [name for name, one in network.named_parameters() if one.ndim > 1]
    assert not any(torch.equal(network.state_dict()[name], before[name]) for name in weights)


def test_maps_that_ignore_the_network_stay_as_they_are_and_others_do_not(model: Classifier, frames: np.ndarray) -> None:
    edges = np.abs(np.gradient(frames.astype(np.float32), axis=2)) / 255
    stubborn = cascade(model, frames, PREPROCESSING, lambda _: edges, edges, 1, 1)
    assert np.allclose(stubborn.similarity["rank_correlation"], 1)

    def maps_of(network: Classifier) -> np.ndarray:
        return explain("gradcam", network, frames, PREPROCESSING, np.zeros(6, np.int64))

    first = cascade(model, frames, PREPROCESSING, maps_of, maps_of(model), 1, 2)
    again = cascade(model, frames, PREPROCESSING, maps_of, maps_of(model), 1, 2)
    np.testing.assert_array_equal(first.similarity["ssim"], again.similarity["ssim"])
    assert np.nanmean(first.similarity["rank_correlation"][-1]) < 0.6


@pytest.mark.parametrize(
    ("difference", "passed"),
    [
        (entry(-0.1, -0.2, -0.01), False),
        (entry(-0.1, -0.2, 0.01), True),
        (entry(0.1, 0.05, 0.2), True),
        (entry(-0.1, None, None), False),
        (entry(0.1, None, None), True),
        ({"value": None, "low": None, "high": None, "reason": "no lungs were found on any film", "films": 0}, False),
    ],
)
def test_the_verdict_follows_its_rule(difference: dict[str, Any], passed: bool) -> None:
    verdict = lung_attention(report_of(difference))
    assert verdict["passed"] is passed
    assert verdict["value"] == difference["value"]
    assert verdict["limit"] == 0
    if difference["value"] is None:
        assert "not measured: no lungs were found" in verdict["sentence"]


def test_a_class_that_looks_elsewhere_is_named(model: Classifier) -> None:
    per_class = {"Normal": entry(0.1, 0.0, 0.2), "Pneumonia": entry(-0.2, -0.3, -0.1)}
    verdict = lung_attention(report_of(entry(0.0, -0.1, 0.1), per_class))
    assert verdict["passed"]
    assert verdict["flagged"] == ["Pneumonia"]
    assert "films of Pneumonia" in verdict["sentence"]


def test_without_lungs_truth_or_second_model_the_trial_says_so(model: Classifier, frames: np.ndarray) -> None:
    none = np.zeros(frames.shape, np.bool_)
    labels = np.array([0, 1, 2, 0, 1, 2])
    films = ExplainedFilms(
        tuple("abcdef"), labels, labels, np.array(list("abcdef"), object), frames, (Box(0, SIDE, 0, SIDE),) * 6, none
    )

    def blank(method: str, network: Classifier, shown: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return np.zeros(shown.shape, np.float32)

    judged = Judged(model, None, PREPROCESSING, lambda logits: logits, blank, {"gradcam": "Grad-CAM"})
    how = FaithfulnessSettings(steps=2, random_maps=1, draws=1)
    found = judge_maps(judged, lambda shown, classes: np.zeros(len(shown)), films, NAMES, how, 40)
    part = found.report["methods"]["gradcam"]
    assert part["blank"] == 6
    assert part["deletion"]["against_random"]["overall"]["reason"] == "every map is blank"
    assert part["regions"]["lungs"]["energy"]["overall"]["reason"] == "no lungs were found on any film"
    assert "phantoms" in part["regions"]["lesions"]["reason"]
    assert part["repeatability"]["reason"] == "there is no second model"
    assert not found.report["verdict"]["passed"]
    assert found.films["blank"].all()


def test_films_are_drawn_alike_whatever_their_order() -> None:
    table = pd.DataFrame({"image_id": [f"i{n:02}" for n in range(30)], "label_index": np.arange(30) % 3})
    first = choose_films(table, 4, 1)
    assert first.groupby("label_index").size().tolist() == [4, 4, 4]
    assert choose_films(table.iloc[::-1], 4, 1)["image_id"].tolist() == first["image_id"].tolist()
    assert set(choose_films(table, 2, 1)["image_id"]) <= set(first["image_id"])
    with pytest.raises(CxrError, match="No test film"):
        choose_films(table.iloc[:0], 4, 1)


def test_the_second_training_differs_in_its_seed_and_the_cap_of_its_epochs_alone() -> None:
    now = load_settings({"faithfulness.second_epochs": 4, "training.max_epochs": 8, "training.freeze_epochs": 2})
    hyper = Hyperparameters.from_settings(now)
    again, cut = second_settings(now, hyper)
    assert (again.training.seed, again.training.max_epochs, cut.freeze_epochs) == (43, 4, 1)
    assert again.training.model_dump(exclude={"seed", "max_epochs"}) == now.training.model_dump(
        exclude={"seed", "max_epochs"}
    )
    whole = load_settings({"faithfulness.second_epochs": None, "training.max_epochs": 8})
    assert second_settings(whole, hyper)[0].training.max_epochs == 8
    assert second_settings(whole, hyper)[1] == hyper
    with pytest.raises(CxrError, match="second_seed"):
        second_settings(load_settings({"faithfulness.second_seed": 42}), hyper)
    records = [{"training": {"training": {"seed": seed, "max_epochs": n}}} for seed, n in ((42, 8), (43, 4))]
    assert second_record(*records, "d")["shortened"] is True
    assert second_record(records[0], records[0], "d")["shortened"] is False


def test_other_settings_of_the_trial_do_not_train_the_second_model_again() -> None:
    parts = ("faithfulness.second_seed", "faithfulness.second_epochs")
    first = load_settings({}).section_digest(*parts)
    assert load_settings({"faithfulness.films": 9}).section_digest(*parts) == first
    assert load_settings({"faithfulness.second_seed": 9}).section_digest(*parts) != first
