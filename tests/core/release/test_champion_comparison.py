"""Candidate against champion on films that both have never seen, with champions that are real packages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_package import LABELS, PREPROCESSING, brightness_onnx, good_facts, write_tiny_package

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.release.champion import get_champion, set_champion
from cxr_core.release.comparison import compare_with_champion
from cxr_core.release.facts import Comparison
from cxr_core.release.gate import evaluate_gate
from cxr_core.release.manifest import read_manifest
from cxr_core.settings_sections import GateSettings
from cxr_core.store import Artefact, ArtefactStore

LEVELS = (0.2, 0.5, 0.8)
FILMS = 60  # of 30 patient groups
OTHER = "0" * 64  # digest of the candidate


class World:
    """A store with a champion that tells classes by brightness, and the test films of a candidate."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtefactStore(folder / "store")
        rng = np.random.default_rng(0)
        self.truth = np.arange(FILMS) // 2 % 3
        levels = np.asarray(LEVELS)[self.truth][:, None, None]
        noise = rng.normal(0, 0.05, (FILMS, 224, 224))
        frames = np.clip((levels + noise) * 255, 0, 255).astype(np.uint8)
        self.ids = [f"{row:016x}" for row in range(FILMS)]
        self.test = LabelledFrames(ArrayFrames(frames), self.truth, self.ids)

    def splits(self, seen: dict[str, str] | None = None) -> str:
        """Digest of a table of splits in which ``seen`` names films that were trained on, with their groups."""
        rows = [(f"f{row:015x}", f"other{row}", "train") for row in range(5)]
        rows += [(image_id, group, "train") for image_id, group in (seen or {}).items()]
        table = pd.DataFrame(rows, columns=["image_id", "group_id", "split"])
        table.loc[len(table)] = [self.ids[0], "g0", "test"]  # a test film of both is no training film
        return self.store.write_table("splits", table).digest

    def enthrone(self, levels: tuple[float, ...] = LEVELS, splits: str | None = None, **changes: Any) -> Artefact:
        def fill(folder: Path) -> None:
            data = {"splits": splits if splits is not None else self.splits()}
            write_tiny_package(folder, onnx_bytes=brightness_onnx(levels), data=data, **changes)

        package = self.store.write_tree("release_candidate", fill)
        set_champion(self.store, package)
        return package

    def candidate(self, wrong: int = 0) -> pd.DataFrame:
        """Predictions with that many films called the next class, each of another group."""
        said = self.truth.copy()
        said[: 2 * wrong : 2] = (said[: 2 * wrong : 2] + 1) % 3
        probabilities = 0.9 * np.eye(3)[said] + 0.1 / 3
        table = pd.DataFrame({"image_id": self.ids, "split": "test", "label_index": self.truth})
        table["group_id"] = [f"g{row // 2}" for row in range(FILMS)]
        val = table.iloc[:3].assign(split="val", image_id=["v1", "v2", "v3"])
        for place in range(3):
            table[f"p_{place}"] = probabilities[:, place]
        return pd.concat([table, val.assign(p_0=1.0, p_1=0.0, p_2=0.0)], ignore_index=True)

    def compare(self, predictions: pd.DataFrame, **changes: Any) -> Comparison:
        arguments: dict[str, Any] = {
            "store": self.store, "model": OTHER, "labels": LABELS, "preprocessing": PREPROCESSING,
            "predictions": predictions, "test": self.test, "seed": 42, "resamples": 300,
        }  # fmt: skip
        return compare_with_champion(**{**arguments, **changes})


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def passes(comparison: Comparison, **gates: Any) -> bool:
    return evaluate_gate({"macro_f1": 0.9}, GateSettings(**gates), good_facts(comparison=comparison)).passed


def test_without_a_champion_there_is_nothing_to_compare(world: World) -> None:
    assert world.compare(world.candidate()) == Comparison()


def test_a_clearly_worse_candidate_is_rejected_with_the_interval_in_the_sentence(world: World) -> None:
    package = world.enthrone()
    found = world.compare(world.candidate(wrong=15))
    assert (found.films, found.groups, found.left_out, found.champion) == (FILMS, 30, 0, package.digest)
    truth, said = world.truth, world.candidate(wrong=15).query("split == 'test'")[["p_0", "p_1", "p_2"]].to_numpy()
    candidate_f1 = classification_metrics(truth, said, LABELS)["macro_f1"]
    assert found.difference == pytest.approx(candidate_f1 - 1.0)  # the champion makes no error
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.difference < found.high < 0
    decision = evaluate_gate({"macro_f1": 0.9}, GateSettings(), good_facts(comparison=found))
    assert not decision.passed
    assert f"95 % interval {found.low:+.4g} to {found.high:+.4g}" in decision.summary


def test_a_slightly_worse_candidate_passes_within_the_interval(world: World) -> None:
    world.enthrone()
    found = world.compare(world.candidate(wrong=1))
    assert found.difference is not None
    assert found.difference < 0
    assert found.high == 0
    assert passes(found)


def test_a_better_candidate_passes_and_an_equal_one_has_an_interval_of_no_width(world: World) -> None:
    world.enthrone()
    equal = world.compare(world.candidate())
    assert (equal.difference, equal.low, equal.high) == (0, 0, 0)
    assert passes(equal)
    world.enthrone((0.2, 0.9, 0.5), weights_bytes=b"confuses two classes")
    better = world.compare(world.candidate())
    assert better.low is not None
    assert better.low > 0
    assert passes(better)


def test_films_and_patients_that_the_champion_was_trained_on_do_not_count(world: World) -> None:
    seen = {world.ids[0]: "renamed since", "gone": "g3"}  # one by its film, one by its patient
    world.enthrone(splits=world.splits(seen))
    found = world.compare(world.candidate(wrong=1))
    assert (found.films, found.groups, found.left_out) == (FILMS - 4, 28, 4)  # both films of both patients
    assert found.difference == 0  # the only error was on a film that is left out
    assert "4 that the champion may have seen left out" in _sentence(found)


def test_too_few_new_films_is_a_stated_failure_that_a_person_can_waive(world: World) -> None:
    seen = {image_id: "" for image_id, label in zip(world.ids, world.truth, strict=True) if label == 2}
    world.enthrone(splits=world.splits(seen))
    found = world.compare(world.candidate())
    assert found.problem == ("only 40 test films of 20 patient groups, none of Tuberculosis are new to it (20 are not)")
    assert not passes(found)
    assert passes(found, allow_unmeasured_champion=True)
    world.enthrone(splits=world.splits(dict.fromkeys(world.ids[:-2], "")), weights_bytes=b"saw nearly all")
    assert "only 2 test films of 1 patient groups" in world.compare(world.candidate()).problem


def test_a_champion_whose_training_films_are_forgotten_cannot_be_compared(world: World) -> None:
    world.enthrone(splits="9" * 64)
    found = world.compare(world.candidate())
    assert found.problem == "the films that it was trained on are no longer known"
    assert not passes(found)


def test_the_champion_itself_is_known_by_what_it_predicts(world: World) -> None:
    package = world.enthrone()
    manifest = read_manifest(world.store.local_tree(package))
    found = world.compare(world.candidate(wrong=30), model=manifest.model)
    assert found.standing == manifest.decision
    assert found.difference is None
    assert passes(found)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels": ("Normal", "Tuberculosis", "Pneumonia")}, "its classes are Normal, Pneumonia, Tuberculosis"),
        ({"preprocessing": replace(PREPROCESSING, clahe=True)}, "its frames are made with another preprocessing"),
    ],
)
def test_models_of_other_classes_or_frames_cannot_be_compared(
    world: World, changes: dict[str, Any], problem: str
) -> None:
    world.enthrone()
    found = world.compare(world.candidate(), **changes)
    assert found.problem == problem
    assert not passes(found)


def test_another_normalisation_is_no_obstacle_since_each_model_brings_its_own(world: World) -> None:
    world.enthrone()
    imagenet = Preprocessing(224, False, 2.0, 8, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert world.compare(world.candidate(), preprocessing=imagenet).difference == 0


def test_a_damaged_champion_is_told_without_naming_a_path(world: World) -> None:
    package = world.enthrone()
    (world.store.local_tree(package) / "model.onnx").write_bytes(b"altered")
    said: list[str] = []
    found = world.compare(world.candidate(), log=said.append)
    assert found.problem == "its package cannot be used on this machine"
    assert "model.onnx" in said[0]
    assert str(world.store.root) not in _sentence(found)
    assert get_champion(world.store) == package


def test_predictions_of_films_without_frames_are_refused(world: World) -> None:
    world.enthrone()
    with pytest.raises(CxrError, match="has predictions but is no test film"):
        world.compare(world.candidate(), test=world.test.subset(np.arange(10)))


def test_equal_inputs_give_equal_comparisons(world: World) -> None:
    world.enthrone()
    rows = world.candidate(wrong=6)
    assert world.compare(rows) == world.compare(rows.sample(frac=1, random_state=0))


def _sentence(comparison: Comparison) -> str:
    decision = evaluate_gate({"macro_f1": 0.9}, GateSettings(), good_facts(comparison=comparison))
    return next(rule.sentence for rule in decision.rules if rule.name == "champion")
