"""The optional parts of a new model package, from the trained model and its films. Needs torch, as packaging does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import RESAMPLES
from cxr_core.imaging.preprocess import Preprocessing, reference_film
from cxr_core.modelling.class_maps import NotExplainable, class_maps_part
from cxr_core.modelling.embedding_output import embedding_part
from cxr_core.modelling.network import Classifier
from cxr_core.modelling.quantise import int8_part
from cxr_core.progress import Log
from cxr_core.release.engine_check import reference_frames, reference_logits
from cxr_core.release.manifest import REFERENCE_LOGITS
from cxr_core.release.parts import PARTS
from cxr_core.release.parts.embedding import EmbeddingPart
from cxr_core.release.parts.explain import ExplainPart
from cxr_core.release.parts.film_detector import FilmDetectorPart
from cxr_core.release.parts.int8 import INT8_NETWORK, Int8Part
from cxr_core.trust.chest_film_part import film_detector_part

__all__ = ["LEFT_OUT", "MadeParts", "make_parts"]

LEFT_OUT = "left_out"  # key in the manifest's ``export``
_EXPLAINED = 8  # films on which the maps are compared with Grad-CAM, each for every class


@dataclass(frozen=True)
class MadeParts:
    """What goes into a package beside the network.

    Attributes:
        files: part name to its files.
        export: for the manifest's ``export``: reference logits, and why parts are left out.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    export: dict[str, object] = field(default_factory=dict)


def make_parts(
    model: Classifier,
    network: bytes,
    validation: LabelledFrames,
    test: LabelledFrames,
    groups: Sequence[str],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    seed: int,
    resamples: int = RESAMPLES,
    log: Log | None = None,
    records: Mapping[str, bytes] | None = None,
) -> MadeParts:
    """Make every part that the model can have.

    Args:
        model: the trained classifier.
        network: its exported network.
        validation: films that the 8-bit network is fitted to, and the heat maps are compared on.
        test: films that the loss of the 8-bit network is measured on.
        groups: patient group of each test film.
        preprocessing: of the frames.
        labels: class names in output order.
        seed, resamples: of the bootstrap.
        log: where progress and what is left out go.
        records: files that earlier assets wrote for a part, file name to content; see
            :attr:`~cxr_core.release.parts.base.Part.recorded`. A part whose own file is not among them is not made.

    Raises:
        CxrError: a part fails its check.
    """
    reference = reference_frames(preprocessing.frame(reference_film()))
    files: dict[str, dict[str, bytes]] = {}
    left_out: dict[str, str] = {}
    sample = validation.frames.take(np.arange(min(_EXPLAINED, len(validation))))
    try:
        files[ExplainPart.name] = class_maps_part(model, network, sample, preprocessing)
    except NotExplainable as error:
        left_out[ExplainPart.name] = str(error)
    try:
        files[Int8Part.name] = int8_part(
            network, validation, test, groups, preprocessing, labels, reference, seed, resamples, log
        )
    except CxrError as error:  # the backbone has a layer that cannot be quantised: it is served without
        left_out[Int8Part.name] = str(error)
    int8 = files.get(Int8Part.name, {}).get(INT8_NETWORK)
    try:
        files[EmbeddingPart.name] = embedding_part(model, network, sample, preprocessing, int8)
    except CxrError as error:  # its head is not linear: what judges by embeddings stays out, too
        left_out[EmbeddingPart.name] = str(error)
    for name, part in PARTS.items():
        if part.file in (given := records or {}):
            files[name] = {file: given[file] for file in (part.file, *part.recorded) if file in given}
    if records is not None:
        try:
            files[FilmDetectorPart.name] = film_detector_part(
                records, files.get(EmbeddingPart.name), int8, test.frames, preprocessing
            )
        except CxrError as error:  # too few films to fit it to, or no embedding: nobody is told what it cannot see
            left_out[FilmDetectorPart.name] = str(error)
    for name, reason in left_out.items():
        if log is not None:
            log(f"The package has no part {name}. {reason}")
    export: dict[str, object] = {
        REFERENCE_LOGITS: reference_logits(network, preprocessing.tensor(reference)),
        LEFT_OUT: left_out,
    }
    return MadeParts(files, export)
