"""From a flagged prediction to a case of the queue."""

from __future__ import annotations

import logging
import threading

import numpy as np
import numpy.typing as npt

from bentoml_service.review.cases import NewCase
from bentoml_service.review.pictures import encode_png, preview
from bentoml_service.review.queue import ReviewQueue
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError
from cxr_core.imaging.decode import decode
from cxr_core.release.engines import usable_cores
from cxr_core.release.predictor import Prediction
from cxr_core.settings_sections import QualitySettings

__all__ = ["new_case", "queue_flagged", "reasons_of"]

# As many films at once as there are cores: more would only hold more decoded pixels in memory.
_at_once = threading.BoundedSemaphore(usable_cores())
_logger = logging.getLogger("cxr.service")


def reasons_of(prediction: Prediction) -> tuple[str, ...]:
    """Codes for which a film is put before a reader: those of its warnings, each once; none: it is not queued."""
    return tuple(dict.fromkeys(warning.code for warning in prediction.warnings))


def new_case(
    prediction: Prediction,
    frame: npt.NDArray[np.uint8],
    grey: npt.NDArray[np.uint8],
    content_digest: str,
    request_id: str,
    preview_side: int,
) -> NewCase:
    """The case of a flagged prediction.

    Args:
        prediction: what was answered.
        frame: (size, size) uint8, what the network saw.
        grey: (height, width) uint8, the film.
        content_digest: SHA-256 of the file that was sent.
        request_id: of the request.
        preview_side: longest side of the film that is kept, pixels.
    """
    return NewCase(
        content_digest=content_digest,
        film=encode_png(preview(grey, preview_side)),
        frame=encode_png(frame),
        reasons=reasons_of(prediction),
        prediction=prediction.label,
        confidence=prediction.confidence,
        probabilities=dict(prediction.probabilities),
        warnings=prediction.warnings,
        model_digest=prediction.model.digest,
        request_id=request_id,
        parts=dict(prediction.parts),
    )


def queue_flagged(
    queue: ReviewQueue,
    prediction: Prediction,
    frame: npt.NDArray[np.uint8],
    data: bytes,
    limits: QualitySettings,
    request_id: str,
) -> str | None:
    """Queue a film whose prediction has warnings. Takes 10-100 ms, so it belongs into a worker thread.

    The film is decoded once more here, because only few are flagged and the decoded ones are too large to hold on to
    while they wait for the network.

    Args:
        queue: the review queue.
        prediction: what is answered.
        frame: (size, size) uint8, what the network saw.
        data: the file that was sent.
        limits: those that it was decoded with.
        request_id: of the request.

    Returns:
        Id of the case; ``None`` where there is nothing to review, the queue is full, or it cannot be written, which
        is logged: the answer then says that no case waits for a reader.
    """
    if not reasons_of(prediction):
        return None
    content = digest_bytes(data)
    try:
        if known := queue.known(content, prediction.model.digest):
            return known
        grey = decode(data, limits, dicom=True).grey
        return queue.add(new_case(prediction, frame, grey, content, request_id, queue.settings.preview_side))
    except CxrError as error:
        _logger.error("a flagged film was not queued: %s request=%s", error, request_id)
        return None
