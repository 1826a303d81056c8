"""Fit operating points on the labelled films of a site, by the model package that is to serve there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxr_core import NOTICE
from cxr_core.dataset.scan import RawFile, scan
from cxr_core.dataset.sidecar import parse_patient, read_sidecar
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError, ImageRejected
from cxr_core.evaluation.bootstrap import RESAMPLES
from cxr_core.evaluation.operating_points import MIN_FILMS, TARGETS, fit_operating_points
from cxr_core.evaluation.site_points import LeftOut, SitePoints
from cxr_core.progress import progress
from cxr_core.release.parts.calibration import CalibrationPart
from cxr_core.release.predictor import Predictor
from cxr_core.settings_sections import QualitySettings

__all__ = ["SiteFit", "fit_site_points"]

_ID_DIGITS = 16  # of a film's SHA-256, as in the image index


@dataclass(frozen=True)
class SiteFit:
    """What was fitted, and which files were left out, by name for the person at the terminal only.

    Attributes:
        record: what is written.
        left_out: file, relative to the folder, and why.
    """

    record: SitePoints
    left_out: tuple[tuple[str, str], ...]


def fit_site_points(
    folder: Path,
    predictor: Predictor,
    limits: QualitySettings,
    seed: int,
    *,
    sensitivities: Sequence[float] = TARGETS,
    min_films: int = MIN_FILMS,
    resamples: int = RESAMPLES,
) -> SiteFit:
    """Predict every film of a folder of class folders and fit the points on the answers.

    Films of one patient, told by the sidecar or by a known scheme of names, are one group of the bootstrap, as are
    equal files, which count once. Equal files under two classes contradict each other and are left out. A site may lack
    a class: the points that would need it are not available, with the reason.

    Args:
        folder: class folders, as the raw folder of the pipeline.
        predictor: the model package; its probabilities are used as it answers them.
        limits: sizes accepted of a film.
        seed, sensitivities, min_films, resamples: see
            :func:`~cxr_core.evaluation.operating_points.fit_operating_points`.

    Raises:
        CxrError: the folder is not such a folder, or no film of it can be used.
    """
    labels = predictor.manifest.labels
    files = scan(folder, labels, every_class=False)
    answers, left = _ask(folder, files, predictor, limits)
    if not answers:
        raise CxrError(f"No film in {folder} can be used: the first says {left[0][1].reason}")
    keys = sorted(answers)
    points = fit_operating_points(
        np.array([answers[key].probabilities for key in keys]),
        np.array([labels.index(answers[key].label) for key in keys], np.int64),
        [answers[key].group for key in keys],
        labels,
        seed,
        temperature=_temperature(predictor),
        trained_model=str(predictor.manifest.data.get("trained_model", "")),
        sensitivities=sensitivities,
        min_films=min_films,
        resamples=resamples,
    )
    manifest = predictor.manifest
    record = SitePoints(
        notice=NOTICE,
        model_digest=manifest.model,
        package_digest=manifest.digest,
        preprocessing_digest=manifest.preprocessing_digest,
        model=f"{manifest.name} {manifest.version}",
        precision=predictor.precision,
        files=len(files),
        points=points,
        left_out=tuple(sorted((said for _, said in left), key=lambda said: (said.code, said.image_id, said.label))),
    )
    return SiteFit(record, tuple((file, said.reason) for file, said in left))


@dataclass(frozen=True)
class _Answer:
    file: str
    label: str
    group: str
    probabilities: npt.NDArray[np.float64]


def _ask(
    folder: Path, files: Sequence[RawFile], predictor: Predictor, limits: QualitySettings
) -> tuple[dict[str, _Answer], list[tuple[str, LeftOut]]]:
    """Answers by content, and the files without one with the reason."""
    listed = _listed(folder, files)
    answers: dict[str, _Answer] = {}
    refused: dict[str, tuple[str, str]] = {}
    contradicted: set[str] = set()
    left: list[tuple[str, LeftOut]] = []

    def leave(raw: RawFile, key: str, code: str, reason: str) -> None:
        left.append((raw.file, LeftOut(image_id=key[:_ID_DIGITS], label=raw.label, code=code, reason=reason)))

    with progress(len(files), "predicting", "films") as advance:
        for raw in files:
            advance(1)
            if listed.labels.get(raw.file, raw.label).casefold() != raw.label.casefold():
                leave(raw, "", "label_mismatch", "metadata.csv and the folder disagree on the label: correct one.")
                continue
            try:
                data = (folder / raw.file).read_bytes()
            except OSError:
                leave(raw, "", "unreadable", "The file cannot be read: mend its link or permissions.")
                continue
            key = digest_bytes(data)
            known = answers.get(key)
            if key in contradicted or (known and known.label != raw.label):
                contradicted.add(key)
                leave(raw, key, "contradiction", "An equal file lies in another class: decide which.")
            elif known:
                leave(raw, key, "duplicate", "An equal file was counted already.")
            elif key in refused:
                leave(raw, key, *refused[key])
            else:
                try:
                    prepared = predictor.prepare(data, limits)
                except ImageRejected as error:
                    refused[key] = error.code, error.reason
                    leave(raw, key, error.code, error.reason)
                    continue
                said = predictor.predict_frames(prepared.frame[None])[0]
                answers[key] = _Answer(raw.file, raw.label, listed.patients[raw.file] or key, said)
    for key in sorted(contradicted):
        first = answers.pop(key)
        reason = "An equal file lies in another class: decide which."
        left.append((first.file, LeftOut(image_id=key[:_ID_DIGITS], label=first.label, code="contradiction",
                                         reason=reason)))  # fmt: skip
    return answers, sorted(left, key=lambda pair: pair[0])


@dataclass(frozen=True)
class _Listed:
    """What sidecar and names tell of the files; the patients group films, and are written nowhere.

    Attributes:
        patients: key of each file, empty where nothing tells it.
        labels: what the sidecar says of those that it names.
    """

    patients: dict[str, str]
    labels: dict[str, str]


def _listed(folder: Path, files: Sequence[RawFile]) -> _Listed:
    sidecar = read_sidecar(folder)
    rows = {} if sidecar is None else sidecar.fillna("").astype(str).to_dict("index")
    patients: dict[str, str] = {}
    for raw in files:
        row = rows.get(raw.file, {})
        stated = f"{row['source']}/{row['patient_id']}" if row.get("patient_id") else ""
        patients[raw.file] = stated or parse_patient(row.get("original_name", "")) or parse_patient(raw.file)
    return _Listed(patients, {str(file): row["label"] for file, row in rows.items() if row["label"]})


def _temperature(predictor: Predictor) -> float:
    part = predictor.parts.get(CalibrationPart.name)
    return part.scaling.temperature if isinstance(part, CalibrationPart) else 1.0
