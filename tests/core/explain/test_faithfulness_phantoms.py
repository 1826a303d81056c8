"""Maps of networks of which it is known what they use: lesions, nothing, a marker in a corner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cxr_core.dataset.phantom import PhantomSpec, plan_files
from cxr_core.dataset.phantom.files import render_planned
from cxr_core.dataset.phantom.masks import framed_mask
from cxr_core.explain.faithfulness_scores import Grouping
from cxr_core.explain.faithfulness_verdict import lung_attention
from cxr_core.explain.localisation import energy_report, lesion_report
from cxr_core.explain.lungs import lung_masks
from cxr_core.explain.methods import explain
from cxr_core.explain.randomisation import randomised
from cxr_core.explain.reference_maps import random_maps
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings import LABELS
from cxr_core.settings_sections import ModelSettings
from cxr_core.settings_stress import FaithfulnessSettings

pytestmark = pytest.mark.slow

SIDE, KEPT = 224, 5  # pixels, as the pipeline's; first stages of seven that keep their pretrained weights
PREPROCESSING = Preprocessing(SIDE, False, 2.0, 8, (0.5,) * 3, (0.5,) * 3)
SPEC = PhantomSpec(patients_per_class=40, seed=7, lesion_density=3.0)
HOW = FaithfulnessSettings()


@dataclass(frozen=True)
class Films:
    frames: np.ndarray
    labels: np.ndarray
    lesions: np.ndarray
    patients: np.ndarray

    @property
    def test(self) -> np.ndarray:
        return np.flatnonzero(self.patients % 3 == 0)

    @property
    def train(self) -> np.ndarray:
        return np.flatnonzero(self.patients % 3 != 0)


@pytest.fixture(scope="module")
def films() -> Films:
    planned = [file for file in plan_files(SPEC) if file.defect == ""]
    drawn = [render_planned(SPEC, file) for file in planned]
    return Films(
        np.stack([PREPROCESSING.frame(film.pixels) for film in drawn]),
        np.array([LABELS.index(file.true_label) for file in planned]),
        np.stack([framed_mask(film.lesion_mask, SIDE) for film in drawn]),
        np.array([file.patient for file in planned]),
    )


def learnt(frames: np.ndarray, labels: np.ndarray, epochs: int) -> Classifier:
    """A pretrained network whose late stages have learnt the films."""
    model = build_classifier(ModelSettings(backbone="tf_efficientnet_lite0", dropout=0.2), 3, 0).model.eval()
    net, inputs = model.backbone, torch.from_numpy(PREPROCESSING.tensor(frames))

    def early(batch: torch.Tensor) -> torch.Tensor:
        return net.blocks[:KEPT](net.bn1(net.conv_stem(batch)))

    with torch.no_grad():
        seen = torch.cat([early(part) for part in inputs.split(32)])
    wanted = torch.from_numpy(labels)
    late = nn.ModuleList([*net.blocks[KEPT:], net.conv_head, net.bn2, model.head]).train()
    optimiser = torch.optim.AdamW(late.parameters(), weight_decay=1e-2)
    steps = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * (len(seen) // 16))
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(epochs):
            for rows in torch.randperm(len(seen), generator=draw)[: len(seen) // 16 * 16].split(16):
                pooled = net.global_pool(net.bn2(net.conv_head(net.blocks[KEPT:](seen[rows]))))
                loss = functional.cross_entropy(model.head(functional.dropout(pooled, 0.2)), wanted[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                steps.step()
    return model.eval()


def predicted(model: Classifier, frames: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(PREPROCESSING.tensor(frames))).argmax(dim=1).numpy()


def grouping(films: Films, rows: np.ndarray) -> Grouping:
    groups = films.patients[rows].astype(str).astype(object)
    return Grouping(films.labels[rows], groups, tuple(LABELS), 1, 500)


@pytest.fixture(scope="module")
def lesion_model(films: Films) -> Classifier:
    return learnt(films.frames[films.train], films.labels[films.train], 6)


@pytest.fixture(scope="module")
def pointing(films: Films) -> Callable[..., dict]:
    def play(model: Classifier, rows: np.ndarray) -> dict:
        frames = films.frames[rows]
        maps = explain("gradcam", model, frames, PREPROCESSING, films.labels[rows])
        rivals = np.stack([random_maps([f"{row}" for row in rows], SIDE, seed) for seed in range(3)])
        by = grouping(films, rows)
        return lesion_report(maps, films.lesions[rows], rivals, by, HOW.tolerance, "")["pointing"]

    return play


def attention(model: Classifier, films: Films, frames: np.ndarray) -> dict:
    """The verdict on Grad-CAM of the predicted classes of test films."""
    rows = films.test
    maps = explain("gradcam", model, frames[rows], PREPROCESSING, predicted(model, frames[rows]))
    lungs = energy_report(maps, lung_masks(films.frames[rows]), grouping(films, rows), HOW.centre_width, "no lungs")
    return lung_attention({"methods": {"gradcam": {"title": "Grad-CAM", "regions": {"lungs": lungs}}}})


def test_a_network_that_has_learnt_lesions_points_at_them(
    films: Films, lesion_model: Classifier, pointing: Callable[..., dict]
) -> None:
    assert (predicted(lesion_model, films.frames[films.test]) == films.labels[films.test]).mean() > 0.8
    found = pointing(lesion_model, films.test[films.labels[films.test] > 0])
    assert found["map"]["overall"]["value"] >= 0.8
    assert found["against_chance"]["overall"]["low"] > 0.4
    assert found["against_random"]["overall"]["low"] > 0.4
    assert attention(lesion_model, films, films.frames)["passed"]


def test_a_network_that_has_forgotten_all_does_not_beat_chance(
    films: Films, lesion_model: Classifier, pointing: Callable[..., dict]
) -> None:
    rows = films.test[films.labels[films.test] > 0]
    *_, (_, forgetful) = randomised(lesion_model, films.frames[rows], PREPROCESSING, 1)
    found = pointing(forgetful, rows)
    assert found["against_chance"]["overall"]["low"] <= 0
    assert found["map"]["overall"]["high"] < 0.5


def test_a_network_that_reads_a_marker_in_a_corner_is_caught_by_the_lungs(films: Films) -> None:
    told = np.random.default_rng(0).integers(0, 3, len(films.labels))  # says nothing of the lungs
    frames, size, gap = films.frames.copy(), SIDE // 8, SIDE // 14
    frames[told == 1, gap : gap + size, gap : gap + size] = 255
    frames[told == 2, gap : gap + size, -gap - size : -gap] = 255
    model = learnt(frames[films.train], told[films.train], 6)
    assert (predicted(model, frames[films.test]) == told[films.test]).mean() > 0.9
    verdict = attention(model, films, frames)
    assert not verdict["passed"]
    assert verdict["high"] < 0
    assert "surely less" in verdict["sentence"]
