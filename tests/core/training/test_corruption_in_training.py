"""Corruptions drawn in training: off by default without a trace, seeded, never of a kind that is kept out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from cxr_core.settings import Settings, load_settings
from cxr_core.settings_sections import AugmentationSettings
from cxr_core.training.augmentation import Augmenter
from cxr_core.training.corruption_draws import CorruptionDraws
from cxr_core.training.recipe import Recipe

KEYS = [f"{number:016x}" for number in range(400)]


@pytest.fixture(scope="module")
def films(blobs: Any) -> LabelledFrames:
    return blobs(24, 64, 3)


def test_without_a_share_no_digest_record_or_byte_knows_of_corruptions(films: LabelledFrames) -> None:
    plain, with_kinds = AugmentationSettings(), AugmentationSettings(corruption_kinds=("jpeg",))
    assert not [name for name in plain.model_dump(mode="json") if "corruption" in name]
    recipe = Recipe.from_settings(load_settings())
    assert not [name for name in recipe.describe()["augmentation"] if "corruption" in name]
    frames = films.frames.take(np.arange(24))
    before = frames.copy()
    first, second = (Augmenter(s, 1).augment(frames, films.keys, 1) for s in (plain, with_kinds))
    assert first.tobytes() == second.tobytes()
    assert frames.tobytes() == before.tobytes()


def test_a_share_is_another_digest_and_another_record() -> None:
    now = load_settings()
    other = load_settings({"augmentation.corruption_share": 0.5, "augmentation.corruption_kinds": ["jpeg"]})
    assert now.section_digest("augmentation") != other.section_digest("augmentation")
    said = Recipe.from_settings(other).describe()["augmentation"]
    assert said["corruption_share"] == 0.5
    assert said["corruption_kinds"] == ["jpeg"]
    carried = Settings(**other.model_dump(mode="json"))  # as a training's job carries them
    assert carried.augmentation == other.augmentation


def test_images_that_are_spared_are_augmented_to_the_bytes_they_would_have_anyway(films: LabelledFrames) -> None:
    frames = films.frames.take(np.arange(24))
    settings = AugmentationSettings(corruption_share=0.5)
    without = Augmenter(AugmentationSettings(), 7).augment(frames, films.keys, 2)
    found = Augmenter(settings, 7).augment(frames, films.keys, 2)
    spared = np.array([CorruptionDraws(0.5, (), 7).draw(key, 2) is None for key in films.keys])
    same = (found == without).all(axis=(1, 2))
    assert spared.any()
    assert (~spared).any()
    assert same[spared].all()
    assert (~same[~spared]).mean() > 0.5  # an inverted or mildly changed film may still differ; some blur may not


def test_a_corrupted_image_is_the_registrys_own_corruption_of_it(films: LabelledFrames) -> None:
    draws = CorruptionDraws(1.0, ("gamma", "gaussian_noise"), 5)
    frames = films.frames.take(np.arange(6))
    found = draws.apply(frames, films.keys[:6], 3)
    for row, key in enumerate(films.keys[:6]):
        preset = draws.draw(key, 3)
        assert preset is not None
        assert np.array_equal(found[row], corrupt(frames[row : row + 1], [f"{key}/3"], preset, 5)[0])


def test_draws_are_seeded_by_image_and_epoch_whatever_the_batch(films: LabelledFrames) -> None:
    draws = CorruptionDraws(0.8, (), 1)
    frames = films.frames.take(np.arange(24))
    together = draws.apply(frames, films.keys, 1)
    alone = np.concatenate([draws.apply(frames[k : k + 1], [films.keys[k]], 1) for k in reversed(range(24))])[::-1]
    assert together.tobytes() == alone.tobytes()
    assert CorruptionDraws(0.8, (), 1).apply(frames, films.keys, 1).tobytes() == together.tobytes()
    assert draws.apply(frames, films.keys, 2).tobytes() != together.tobytes()
    names = [[preset.name if (preset := draws.draw(key, epoch)) else "" for key in KEYS] for epoch in (1, 2)]
    assert np.mean([first != second for first, second in zip(*names, strict=True)]) > 0.5  # by chance .94
    assert CorruptionDraws(0.8, (), 2).apply(frames, films.keys, 1).tobytes() != together.tobytes()


def test_the_share_holds_and_every_kind_and_severity_but_those_kept_out_comes_up() -> None:
    held_out = ("jpeg", "motion_blur", "poisson_noise")
    kinds = tuple(name for name in CORRUPTIONS if name not in held_out)
    draws = CorruptionDraws(0.5, kinds, 42)
    drawn = [preset for epoch in (1, 2, 3) for key in KEYS if (preset := draws.draw(key, epoch))]
    assert len(drawn) / 1200 == pytest.approx(0.5, abs=0.05)  # 3.5 standard errors
    names = {preset.name for preset in drawn}
    assert {name.rpartition("-")[0] for name in names} == set(kinds)
    assert {int(name.rpartition("-")[2]) for name in names} == set(SEVERITIES)
    assert CorruptionDraws(0.5, (), 42).kinds == tuple(sorted(CORRUPTIONS))


def test_a_kind_that_the_registry_lacks_is_refused_by_name() -> None:
    with pytest.raises(CxrError, match=r"'sepia'.*corruption_kinds"):
        Augmenter(AugmentationSettings(corruption_share=0.1, corruption_kinds=("sepia",)), 1)
