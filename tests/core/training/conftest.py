"""Synthetic frames for the training tests: a bright blob whose place, size and brightness tell the class."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlflow_parts import Mlflow, copy_of

from cxr_core.dataset.frames import ArrayFrames, LabelledFrames
from cxr_core.imaging.preprocess import Preprocessing

Blobs = Callable[[int, int, int], LabelledFrames]

PLACES = ((0.35, 0.35), (0.5, 0.65), (0.7, 0.45))  # of the blob's centre, (row, column) as shares of the side


@pytest.fixture(scope="session")
def blobs() -> Blobs:
    """Maker of ``n`` noisy frames of a side, classes in turn, from a seed."""

    def make(n: int, side: int, seed: int) -> LabelledFrames:
        rng = np.random.default_rng(seed)
        labels = (np.arange(n) % 3).astype(np.int64)
        frames = rng.integers(60, 100, (n, side, side), dtype=np.uint8)
        for frame, label in zip(frames, labels, strict=True):
            row, column = (int(side * share + rng.integers(-2, 3)) for share in PLACES[label])
            cv2.circle(frame, (column, row), side // (6 + 3 * int(label)), int(150 + 50 * label), -1)
        return LabelledFrames(ArrayFrames(frames), labels, [f"{seed:02x}-{i:04x}" for i in range(n)])

    return make


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return Preprocessing(64, False, 2.0, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and no experiment."""
    from cxr_core.training.tracking_client import open_client

    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    open_client(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def mlflow(mlflow_template: Path, tmp_path: Path) -> Mlflow:
    """An empty MLflow that can go away."""
    return copy_of(mlflow_template, tmp_path / "mlflow")
