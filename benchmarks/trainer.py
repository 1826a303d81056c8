"""The training loop against a bare loop over tensors that lie ready in memory."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.harness import Benchmark, side_by_side
from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.dataset.phantom import PhantomSpec, iter_films
from cxr_core.evaluation.predict import predict_logits
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.losses import FocalLoss
from cxr_core.modelling.network import Classifier, build_classifier
from cxr_core.settings import load_settings
from cxr_core.settings_sections import ModelSettings, TrainingSettings
from cxr_core.training.hyperparameters import Hyperparameters
from cxr_core.training.loop import train
from cxr_core.training.memory import keep_freed_memory
from cxr_core.training.recipe import Recipe

_TRAIN, _VAL, _BATCH = 192, 48, 16
_CPU = torch.device("cpu")


def measure() -> Benchmark:
    """Seconds of one epoch of the demo's network at 224 px, validation included, on the same cores."""
    keep_freed_memory()  # of the process: both loops have it
    settings = load_settings({"profile": "demo"})
    preprocessing = Preprocessing.from_settings(settings.preprocessing, (0.5,) * 3, (0.5,) * 3)
    train_set, val_set = _films(preprocessing, _TRAIN + _VAL)
    network = ModelSettings(backbone="tf_efficientnet_lite0", weights="none", dropout=0.5)
    hyper = Hyperparameters(1e-4, 1e-4, 0.5, _BATCH, 0, 2.0)
    recipe = Recipe(hyper, TrainingSettings(max_epochs=1), settings.loss, settings.augmentation)
    x = torch.from_numpy(preprocessing.tensor(train_set.frames.take(np.arange(_TRAIN))))
    x = x.to(memory_format=torch.channels_last)
    y = torch.from_numpy(train_set.labels)

    def ours() -> None:
        train(_model(network), preprocessing, train_set, val_set, recipe, _CPU, log=_silent)

    def theirs() -> None:
        model = _model(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        criterion = FocalLoss(0.25, 2.0)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
        model.train()
        for start in range(0, _TRAIN, _BATCH):
            optimizer.zero_grad(set_to_none=True)
            criterion(model(x[start : start + _BATCH]), y[start : start + _BATCH]).backward()
            optimizer.step()
        predict_logits(model, val_set.frames, preprocessing, log=_silent)

    ratio, ours_s, theirs_s = side_by_side(ours, theirs)
    note = (
        f"{_TRAIN / ours_s:.1f} against {_TRAIN / theirs_s:.1f} images/s with validation: augmentation, clipping and "
        "measures cost the rest"
    )
    return Benchmark("trainer", 1 / ratio, 1.05, "lower", "time, loop over bare loop", note)


def _model(network: ModelSettings) -> Classifier:
    return build_classifier(network, 3, 42).model


def _films(preprocessing: Preprocessing, count: int) -> tuple[LabelledFrames, LabelledFrames]:
    spec = PhantomSpec(patients_per_class=count, films_per_patient=(1, 1), exact_duplicates=0, near_duplicates=0)
    frames = [preprocessing.frame(film.pixels) for _, (_, film) in zip(range(count), iter_films(spec), strict=False)]
    labels = np.arange(count, dtype=np.int64) % 3  # what they show is of no account here
    data = LabelledFrames(ArrayFrames(np.stack(frames)), labels, [f"{number:04}" for number in range(count)])
    return data.subset(np.arange(_TRAIN)), data.subset(np.arange(_TRAIN, count))


def _silent(_: str) -> None:
    """No progress lines among the results."""
