"""What the tests share: a clean environment and small films."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

REAL_DATA = Path(os.environ.get("CXR_REAL_DATA", Path(__file__).parents[2] / "shared" / "cxr"))

Film = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests leaks in, and nothing is written outside the test's folder."""
    for name in list(os.environ):
        if name.startswith("CXR_") and name != "CXR_REAL_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))


@pytest.fixture
def real_films() -> Path:
    """Folder of real chest films; the test is skipped where there is none."""
    if not (REAL_DATA / "metadata.csv").is_file():
        pytest.skip(f"no real X-rays in {REAL_DATA}: set CXR_REAL_DATA to a folder of class folders with metadata.csv")
    return REAL_DATA


@pytest.fixture
def film() -> Callable[..., Film]:
    """Makes a smooth random grey film of any size: large structures, every seed another one."""

    def make(seed: int = 0, width: int = 240, height: int = 200) -> Film:
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(40, 220, (9, 11), np.uint8).astype(np.uint8))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))

    return make


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Encodes pixels as an image file."""

    def make(pixels: Film, kind: str = "PNG", **options: object) -> bytes:
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, kind, **options)
        return buffer.getvalue()

    return make
