"""Two arms that go on from the trained model: with corruptions in training, and its fair twin without.

Same first weights, films, epochs, learning rate, seed, order and augmentation; the corruptions are the one difference,
so that what the further epochs alone bring is not taken for what the corruptions bring.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import ArrayFrames
from cxr_core.digests import digest_json
from cxr_core.robustness.mitigation_arms import CLAHE, CORRUPTED, TWIN, Arm, Predict, arms_at_test_time
from cxr_core.robustness.mitigation_conditions import drawn_kinds
from cxr_core.robustness.test_time import copies_of

if TYPE_CHECKING:
    from cxr_core.dataset.frames import LabelledFrames
    from cxr_core.evaluation.temperature import TemperatureScaling
    from cxr_core.modelling.network import Classifier
    from cxr_core.progress import Log
    from cxr_core.settings import Settings
    from cxr_core.training.hyperparameters import Hyperparameters
    from cxr_core.training.recipe import Recipe
    from cxr_core.training.saved_model import SavedModel

__all__ = ["TrainedArm", "TrainingFilms", "about_training", "all_arms", "continued", "recipe_of"]

_DIGITS = 16


@dataclass(frozen=True)
class TrainingFilms:
    """What the arms learn from: films to train, films that each epoch is looked at on, films for the temperature.

    Attributes:
        train, val, calibration: films of the splits of those names.
        calibration_groups: patient group of each calibration film.
    """

    train: LabelledFrames
    val: LabelledFrames
    calibration: LabelledFrames
    calibration_groups: Sequence[str]


@dataclass(frozen=True)
class TrainedArm:
    """A model that went on learning.

    Attributes:
        model: in evaluation mode.
        temperature: fitted on the calibration films, as the served model's is.
        about: JSON-ready: ``corruption_share``, ``history``, ``temperature``, ``temperature_reason``.
        folder: where its checkpoint is; :meth:`clear` removes it. None where nothing was kept.
    """

    model: Classifier
    temperature: TemperatureScaling
    about: dict[str, Any]
    folder: Path | None = None

    def clear(self) -> None:
        """Remove what was kept for resuming, once the result is stored."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def recipe_of(settings: Settings, hyper: Hyperparameters, share: float) -> Recipe:
    """How an arm is trained: as the model was, but shorter, at a lower rate, and with a share of corrupted films.

    The last epoch is kept: to choose one by its clean validation loss would favour the arm without corruptions.

    Args:
        settings: all settings.
        hyper: those that the model was trained with.
        share: of the films of an epoch that are corrupted.
    """
    from cxr_core.training.recipe import Recipe

    own = settings.mitigation
    further = replace(hyper, learning_rate=hyper.learning_rate * own.rate_factor, freeze_epochs=0)
    training = settings.training.model_copy(
        update={
            "max_epochs": own.epochs,
            "patience": own.epochs,
            "keep": "last",
            "frozen_stages": own.frozen_stages,
            "seed": own.seed,
        }
    )
    kinds = drawn_kinds(own) if share else ()
    augmentation = settings.augmentation.model_copy(update={"corruption_share": share, "corruption_kinds": kinds})
    return Recipe(further, training, settings.loss, augmentation)


def continued(
    saved: SavedModel,
    films: TrainingFilms,
    settings: Settings,
    hyper: Hyperparameters,
    share: float,
    folder: Path | None = None,
    log: Log | None = None,
) -> TrainedArm:
    """Go on training a copy of the model, and fit its temperature.

    Args:
        saved: the trained model; it is left as it is.
        films: to learn from.
        settings: all settings.
        hyper: those that the model was trained with.
        share: of the films of an epoch that are corrupted, 0-1.
        folder: where checkpoints are kept so that a killed run goes on where it stood; default nowhere.
        log: where progress lines go.

    Raises:
        CxrError: as training.
    """
    from cxr_core.evaluation.predict import predict_logits
    from cxr_core.evaluation.temperature import fit_temperature
    from cxr_core.modelling.network import resolve_device
    from cxr_core.training.checkpoints import Checkpoints
    from cxr_core.training.fingerprint import training_fingerprint
    from cxr_core.training.loop import train
    from cxr_core.training.ranks import Ranks

    model, recipe, ranks = copy.deepcopy(saved.model), recipe_of(settings, hyper, share), Ranks(device=resolve_device())
    checkpoints = None
    if folder is not None:
        depends = training_fingerprint(model, saved.preprocessing, films.train, films.val, recipe, ranks)
        checkpoints = Checkpoints(folder / digest_json(depends)[:_DIGITS], settings.training.checkpoint_minutes)
    result = train(
        model, saved.preprocessing, films.train, films.val, recipe, checkpoints=checkpoints, ranks=ranks, log=log
    )
    logits = predict_logits(model, films.calibration.frames, saved.preprocessing, device=ranks.device)
    groups = np.asarray(films.calibration_groups, dtype=object)
    temperature = fit_temperature(logits, films.calibration.labels, groups, settings.mitigation.seed)
    about = {
        "corruption_share": share,
        "history": result.history,
        "temperature": temperature.temperature,
        "temperature_reason": temperature.reason,
    }
    return TrainedArm(model, temperature, about, checkpoints.folder if checkpoints else None)


def all_arms(
    settings: Settings,
    saved: SavedModel,
    temperature: TemperatureScaling,
    twin: TrainedArm,
    corrupted: TrainedArm,
) -> tuple[list[Arm], dict[str, str]]:
    """Every arm, the unmitigated model first, and why one is left out.

    Args:
        settings: all settings.
        saved: the trained model.
        temperature: its own.
        twin, corrupted: the trained arms without and with corruptions.
    """
    preprocessing = settings.preprocessing

    def of(model: Classifier, scaling: TemperatureScaling) -> Predict:
        return lambda frames: _calibrated(model, scaling, frames, saved)

    copies = copies_of(settings.mitigation)
    plain = of(saved.model, temperature)
    arms = arms_at_test_time(plain, copies, preprocessing.clahe_clip_limit, preprocessing.clahe_tiles)
    absent = {}
    if saved.preprocessing.clahe:
        arms = [arm for arm in arms if arm.name != CLAHE]
        absent[CLAHE] = "the model's own preprocessing equalises every film already"
    alone, together = of(twin.model, twin.temperature), of(corrupted.model, corrupted.temperature)
    arms += [
        Arm(TWIN, "further training without corruptions", 1, lambda frames, _: alone(frames)),
        Arm(CORRUPTED, "further training with corruptions", 1, lambda frames, _: together(frames), against=TWIN),
    ]
    return arms, absent


def about_training(
    settings: Settings,
    saved: SavedModel,
    hyper: Hyperparameters,
    films: TrainingFilms,
    twin: TrainedArm,
    corrupted: TrainedArm,
) -> dict[str, Any]:
    """What a report says of the trained arms: what they have in common, what differs, and what it cost in passes."""
    own = settings.mitigation
    before = saved.record["training"].get("augmentation") or {}
    return {
        "films": len(films.train),
        "epochs": own.epochs,
        "learning_rate": recipe_of(settings, hyper, 0.0).hyper.learning_rate,
        "frozen_stages": own.frozen_stages,
        "seed": own.seed,
        "training_passes": own.epochs * len(films.train),
        "drawn": list(drawn_kinds(own)),
        "held_out": sorted(own.held_out),
        "model_saw_corruptions": before.get("corruption_share", 0.0),
        "copies": [copy.name for copy in copies_of(own)],
        "arms": {TWIN: twin.about, CORRUPTED: corrupted.about},
    }


def _calibrated(
    model: Classifier, scaling: TemperatureScaling, frames: npt.NDArray[np.uint8], saved: SavedModel
) -> npt.NDArray[np.float64]:
    """Calibrated probabilities of frames, without progress lines: the caller says how far it is."""
    from cxr_core.evaluation.predict import predict_logits
    from cxr_core.modelling.network import resolve_device

    logits = predict_logits(
        model, ArrayFrames(frames), saved.preprocessing, device=resolve_device(), log=lambda _: None
    )
    return scaling.probabilities(logits)
