"""The model and the films of the service's benchmarks, and what the bare network does."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxr_core.dataset.phantom import PhantomSpec, iter_films
from cxr_core.errors import CxrError
from cxr_core.imaging.decode import decode
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.predict_command import released_package
from cxr_core.release.engines import open_engine, usable_cores
from cxr_core.release.package import ONNX, load_manifest, read_part, write_package
from cxr_core.settings import LABELS, load_settings
from cxr_core.settings_sections import ModelSettings, QualitySettings

__all__ = ["LARGE", "SMALL", "bare_forward", "model_package", "service_films"]

SMALL, LARGE = 512, 2000  # longest side, pixels: small public films, and films as a detector gives them
_BATCHES = (1, 2, 4, 8, 16)
_QUALITY, _GRAIN = 90, 2.2  # as in benchmarks/films.py: bytes a pixel as public films have


def service_films(side: int, count: int = 24) -> list[bytes]:
    """Grey JPEG phantoms whose longest side is ``side`` pixels."""
    spec = PhantomSpec(
        patients_per_class=-(-count // 3), films_per_patient=(1, 1), exact_duplicates=0, near_duplicates=0
    )
    films = []
    for number, (_, film) in zip(range(count), iter_films(spec), strict=False):
        scale = side / max(film.pixels.shape)
        height, width = (round(extent * scale) for extent in film.pixels.shape)
        large = cv2.resize(film.pixels, (width, height), interpolation=cv2.INTER_CUBIC)
        grain = np.random.default_rng(number).normal(0, _GRAIN, large.shape)
        grey = np.clip(large + grain, 0, 255).astype(np.uint8)
        films.append(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())
    return films


def model_package(scratch: Path) -> tuple[Path, str]:
    """The package of the released model; where the pipeline has not run, the demo's network with random weights.

    Returns:
        Its folder, and what it is, for the note.
    """
    try:
        return released_package(load_settings()), "released model"
    except CxrError:
        return _random_package(scratch / "model"), "random weights"


def _random_package(folder: Path) -> Path:
    from cxr_core.modelling.export import export_onnx, state_dict_bytes
    from cxr_core.modelling.network import build_classifier

    settings = load_settings({"profile": "demo"})
    preprocessing = Preprocessing.from_settings(settings.preprocessing, (0.5,) * 3, (0.5,) * 3)
    network = ModelSettings(backbone="tf_efficientnet_lite0", weights="none", dropout=0.5)
    model = build_classifier(network, len(LABELS), 0).model.eval()
    sample = preprocessing.tensor(_frames(preprocessing, service_films(SMALL, 2)))
    export = export_onnx(model, sample)
    gate = {"passed": True, "rules": []}
    write_package(
        folder, name="cxr", version="0.0.0", labels=LABELS, backbone=network.backbone, dropout=network.dropout,
        preprocessing=preprocessing, metrics={}, data={}, gate=gate, onnx_bytes=export.data,
        weights_bytes=state_dict_bytes(model.state_dict()),
        export={"opset": export.opset, "max_abs_difference": export.max_abs_difference},
    )  # fmt: skip
    return folder


def _frames(preprocessing: Preprocessing, films: list[bytes]) -> npt.NDArray[np.uint8]:
    limits = QualitySettings()
    return np.stack([preprocessing.frame(decode(film, limits).grey) for film in films])


def bare_forward(package: Path, engine: str, films: list[bytes], seconds: float) -> tuple[float, int]:
    """Films a second of the engine alone on tensors that lie ready, at the best batch, and that batch.

    Args:
        package: the model.
        engine: that the service runs.
        films: files.
        seconds: of measurement for each batch.
    """
    manifest = load_manifest(package)
    network = open_engine(engine, read_part(package, manifest, ONNX), usable_cores())
    tensor = manifest.preprocessing.tensor(_frames(manifest.preprocessing, films))
    rates: dict[int, float] = {}
    for batch in _BATCHES:
        part = np.ascontiguousarray(np.resize(tensor, (batch, *tensor.shape[1:])))
        network.run(part)
        runs, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            network.run(part)
            runs += 1
        rates[batch] = runs * batch / (time.perf_counter() - start)
    best = max(rates, key=lambda size: rates[size])
    return rates[best], best
