"""The network with 8-bit weights and activations, and what that costs: the part ``int8`` of a model package.

Post-training static quantisation (Jacob et al., CVPR 2018; Nagel et al., arXiv 2106.08295): weights by channel,
activations by the range that they show on validation films. Equal network and films give equal bytes with one version
of ONNX Runtime on one kind of processor; another may round a range otherwise in its last digit.
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from cxr_core.dataset.frames import Frames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import RESAMPLES, percentile_interval, resampled_scores
from cxr_core.evaluation.metrics import classification_metrics
from cxr_core.evaluation.probabilities import softmax
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.modelling.export import INPUT_NAME, OUTPUT_NAME
from cxr_core.progress import Log, progress
from cxr_core.release.engine_check import reference_logits
from cxr_core.release.engines import cpu_session
from cxr_core.release.parts.int8 import INT8_FILE, INT8_NETWORK, Int8Record

__all__ = ["CALIBRATION_FILMS", "int8_part", "quantise"]

CALIBRATION_FILMS = 128  # ranges of activations settle with a hundred films or so: Nagel et al. 2021, section 3.1
_TEST_FILMS = 5000  # of a larger test set so many are measured: the mean change is then known to a hundredth of itself
_BATCH = 16  # films at once
_DIGITS = 6  # of the numbers in the record: the next ones differ by processor

Floats = npt.NDArray[np.float64]


def quantise(network: bytes, frames: Frames, preprocessing: Preprocessing) -> bytes:
    """The 8-bit network, in ONNX's QDQ form; input and output stay float32.

    Args:
        network: the exported network.
        frames: validation films, of which some hundred spread over all of them are used.
        preprocessing: turns frames into network input.

    Raises:
        CxrError: no frames, or the network cannot be quantised.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    if not len(frames):
        raise CxrError("There are no validation films to quantise the network by: set split to keep some.")
    with tempfile.TemporaryDirectory(prefix="cxr-int8-") as scratch, _quiet():
        target = Path(scratch) / INT8_NETWORK
        try:
            quantize_static(
                onnx.load_from_string(network),
                target,
                _Films(frames, preprocessing),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,  # the pair that processors with 8-bit dot products are made for
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,  # as good as entropy and percentile, in a third of the time
            )
        except Exception as error:  # it raises whatever its passes raise
            raise CxrError(f"The network cannot be quantised ({type(error).__name__}).") from error
        return _tidy(onnx.load(target))


def int8_part(
    network: bytes,
    validation: LabelledFrames,
    test: LabelledFrames,
    groups: Sequence[str],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    reference: npt.NDArray[np.uint8],
    seed: int,
    resamples: int = RESAMPLES,
    log: Log | None = None,
) -> dict[str, bytes]:
    """Files of the part ``int8``: the quantised network, and its loss against the exported one on the test films.

    Args:
        network: the exported network.
        validation: films that the ranges come from.
        test: films that the loss is measured on.
        groups: patient group of each test film.
        preprocessing: of the frames.
        labels: class names in output order.
        reference: (3, size, size) uint8, the frames that engines are compared on.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        log: where progress goes.

    Raises:
        CxrError: no films, or the network cannot be quantised.
    """
    if not len(test):
        raise CxrError("There are no test films to measure the quantised network on: set split to keep some.")
    small = quantise(network, validation.frames, preprocessing)
    rows = _spread(len(test), _TEST_FILMS)
    chosen = test.subset(rows)
    names = np.asarray(groups, object)[rows]
    exact = _probabilities(network, chosen.frames, preprocessing, "predicting exactly", log)
    rounded = _probabilities(small, chosen.frames, preprocessing, "predicting in 8 bits", log)
    change = np.abs(rounded - exact)
    before, after = (classification_metrics(chosen.labels, p, labels)["macro_auc"] for p in (exact, rounded))
    drawn = resampled_scores(chosen.labels, [exact, rounded], names, seed, resamples)
    interval = percentile_interval(drawn[1]["macro_auc"] - drawn[0]["macro_auc"], keep_flat=True) or {}
    record = Int8Record(
        method="static QDQ, weights int8 by channel, activations uint8 by range",
        network=INT8_NETWORK,
        reference_logits=reference_logits(small, preprocessing.tensor(reference)),
        calibration_films=min(len(validation), CALIBRATION_FILMS),
        films=len(chosen),
        groups=len(set(names.tolist())),
        max_probability_change=_rounded(change.max()),
        mean_probability_change=_rounded(change.mean()),
        label_agreement=_rounded((exact.argmax(axis=1) == rounded.argmax(axis=1)).mean()),
        macro_auc=_rounded(after),
        macro_auc_fp32=_rounded(before),
        macro_auc_difference=None if before is None or after is None else _rounded(after - before),
        low=_rounded(interval.get("low")),
        high=_rounded(interval.get("high")),
    )
    text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True)
    return {INT8_FILE: text.encode(), INT8_NETWORK: small}


class _Films:
    """The films as ONNX Runtime asks for them: a ``CalibrationDataReader``."""

    def __init__(self, frames: Frames, preprocessing: Preprocessing) -> None:
        self._batches = _batches(frames, _spread(len(frames), CALIBRATION_FILMS), preprocessing)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next batch; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: batch}


def _batches(
    frames: Frames, rows: npt.NDArray[np.intp], preprocessing: Preprocessing
) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(rows), _BATCH):
        yield preprocessing.tensor(frames.take(rows[start : start + _BATCH]))


def _spread(n: int, most: int) -> npt.NDArray[np.intp]:
    """Up to ``most`` of ``n`` rows, evenly over all of them: films are sorted by image id, which tells no class."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))


def _probabilities(network: bytes, frames: Frames, preprocessing: Preprocessing, what: str, log: Log | None) -> Floats:
    session = cpu_session(network, None, (OUTPUT_NAME,))
    found: list[npt.NDArray[np.float32]] = []
    with progress(len(frames), what, log=log) as advance:
        for batch in _batches(frames, np.arange(len(frames)), preprocessing):
            found.append(session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0])
            advance(len(batch))
    return softmax(np.concatenate(found))


def _rounded(value: Any) -> Any:
    return None if value is None else round(float(value), _DIGITS)


def _tidy(proto: Any) -> bytes:
    """Serialise in one order, without notes of the passes."""
    proto.ClearField("metadata_props")
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice about its own passes out of log and output."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it logs to the root logger
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
