"""Settings carry the report's constants, and say what is wrong with a value."""

from __future__ import annotations

import pytest

from cxr_core.errors import CxrError
from cxr_core.settings import LABELS, describe, load_settings, project_root


def test_the_standard_profile_is_the_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXR_PROFILE", "standard")
    now = load_settings()
    assert now.labels == LABELS
    assert (now.split.val_fraction, now.split.test_fraction, now.split.seed) == (0.1, 0.1, 42)
    assert (now.preprocessing.size, now.preprocessing.clahe_clip_limit, now.preprocessing.clahe_tiles) == (224, 2, 8)
    assert (now.loss.alpha, now.loss.gamma) == (0.25, 2.0)
    train = now.training
    assert (train.learning_rate, train.weight_decay, train.beta1, train.beta2) == (1e-4, 1e-4, 0.9, 0.999)
    assert (train.max_epochs, train.eta_min, train.freeze_epochs, train.clip_norm, train.patience) == (
        100,
        1e-7,
        5,
        1,
        15,
    )
    assert (now.tuning.trials, now.tuning.batch_size, now.tuning.freeze_epochs) == (15, (16, 32, 64), (0, 10))
    assert (now.tuning.learning_rate, now.tuning.focal_gamma) == ((1e-5, 1e-3), (1.5, 2.5))
    assert (now.network.backbone, now.network.dropout) == ("densenet121", 0.5)
    assert now.gates.min_macro_f1 == 0.75


def test_every_setting_says_where_it_comes_from():
    silent = [name for name, _, source in describe(load_settings()) if not source]
    assert silent == []


def test_overrides_beat_the_environment_which_beats_the_profile(monkeypatch: pytest.MonkeyPatch):
    profile = load_settings().training.max_epochs
    monkeypatch.setenv("CXR_TRAINING__MAX_EPOCHS", "9")
    assert profile != 9
    assert load_settings().training.max_epochs == 9
    now = load_settings({"training.max_epochs": 2, "training.patience": 1})
    assert (now.training.max_epochs, now.training.patience) == (2, 1)
    assert now.training.freeze_epochs == load_settings().training.freeze_epochs


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"training.max_epoch": 2}, "training.max_epoch"),
        ({"training.max_epochs": 0}, "training.max_epochs"),
        ({"labels": ("Normal", "normal")}, "labels"),
        ({"profile": "huge"}, "huge"),
        ({"release.version": "one"}, "release.version"),
    ],
)
def test_a_wrong_setting_is_named(overrides: dict[str, object], named: str):
    with pytest.raises(CxrError, match=named.replace(".", r"\.")):
        load_settings(overrides)


def test_paths_are_absolute_and_under_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("CXR_STORE", "s3://bucket/prefix")
    now = load_settings()
    assert now.store == "s3://bucket/prefix"
    for path in (now.raw_dir, now.cache_dir, now.bento_home):
        assert path is not None
        assert path.is_relative_to(project_root())


def test_a_digest_of_sections_changes_with_them_alone():
    one, other = load_settings(), load_settings({"training.max_epochs": 3})
    assert one.section_digest("training") != other.section_digest("training")
    assert one.section_digest("tuning", "loss") == other.section_digest("loss", "tuning")
