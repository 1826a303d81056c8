"""A candidate beside the champion on the same test films, none of which the champion was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_core.dataset.frames import LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.bootstrap import RESAMPLES, percentile_interval, resampled_scores
from cxr_core.evaluation.metrics import classification_metrics, probabilities_of
from cxr_core.evaluation.probabilities import softmax
from cxr_core.imaging.preprocess import Preprocessing
from cxr_core.progress import Log, progress
from cxr_core.release.champion import get_champion
from cxr_core.release.facts import Comparison
from cxr_core.release.manifest import PackageManifest, read_manifest
from cxr_core.release.predictor import Predictor
from cxr_core.store import ArtefactStore

__all__ = ["compare_with_champion"]
_CHUNK = 256  # frames read at once: 13 MB at 224 pixels
_logger = logging.getLogger("cxr")


def compare_with_champion(
    store: ArtefactStore,
    model: str,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    predictions: pd.DataFrame,
    test: LabelledFrames,
    seed: int,
    resamples: int = RESAMPLES,
    log: Log | None = None,
) -> Comparison:
    """Score candidate and champion on the test films that are new to both.

    The champion predicts through its own package. Films that it was trained or validated on do not count, nor do other
    films of those patient groups: the splits that its manifest names tell which they are. The interval is a paired
    percentile bootstrap over patient groups, both models on the same resamples.

    Args:
        store: where the champion and the splits that it was trained with lie.
        model: the candidate's :func:`~cxr_core.release.manifest.model_digest`.
        labels: class names in output order.
        preprocessing: of the frames in ``test``.
        predictions: the candidate's predictions table; its ``test`` rows count, films that it was not trained on.
        test: their frames, by image_id.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        log: where progress and the details of a problem go.

    Returns:
        The comparison; one that could not be made says why.

    Raises:
        CxrError: predictions of films that are not among the frames.
    """
    champion = get_champion(store)
    if champion is None:
        return Comparison()
    said = Comparison(champion=champion.digest, name=champion.digest[:12])
    try:
        folder = store.local_tree(champion)
        manifest = read_manifest(folder)
        said = replace(said, name=f"{manifest.name} {manifest.version} ({champion.digest[:12]})")
        if manifest.model == model:
            return replace(said, standing=manifest.decision)
        if problem := _unlike(manifest, labels, preprocessing):
            return replace(said, problem=problem)
        predictor = Predictor.load(folder)
    except CxrError as error:
        (log or _logger.warning)(f"The champion's package cannot be used. {error}")
        return replace(said, problem="its package cannot be used on this machine")
    seen = _trained_on(store, manifest)
    if seen is None:
        return replace(said, problem="the films that it was trained on are no longer known")
    all_films = predictions[predictions["split"] == "test"].sort_values("image_id")
    films = all_films[~_familiar(all_films, seen)]
    truth, groups = films["label_index"].to_numpy(np.int64), films["group_id"].to_numpy(object)
    said = replace(said, films=len(films), groups=films["group_id"].nunique(), left_out=len(all_films) - len(films))
    if problem := _too_few(said, [name for place, name in enumerate(labels) if place not in set(truth.tolist())]):
        return replace(said, problem=problem)
    mine = probabilities_of(films, len(labels))
    theirs = _predict(predictor, test, films["image_id"].tolist(), log)
    before, after = (classification_metrics(truth, p, labels)["macro_f1"] for p in (theirs, mine))
    assert before is not None  # films of every class are there
    assert after is not None
    old, new = resampled_scores(truth, [theirs, mine], groups, seed, resamples)
    interval = percentile_interval(new["macro_f1"] - old["macro_f1"], keep_flat=True) or {}
    return replace(said, difference=after - before, low=interval.get("low"), high=interval.get("high"))


def _unlike(manifest: PackageManifest, labels: Sequence[str], preprocessing: Preprocessing) -> str:
    if manifest.labels != tuple(labels):
        return f"its classes are {', '.join(manifest.labels)}"
    if manifest.preprocessing.frame_digest != preprocessing.frame_digest:
        return "its frames are made with another preprocessing"
    return ""


def _trained_on(store: ArtefactStore, manifest: PackageManifest) -> pd.DataFrame | None:
    """Films that a model was trained or validated on: columns image_id, group_id, split; None where nobody knows."""
    table = store.table_of("splits", str(manifest.data.get("splits", "")))
    if table is None:
        return None
    dealt = store.read_table(table, ["image_id", "group_id", "split"])
    return dealt[dealt["split"] != "test"]


def _familiar(films: pd.DataFrame, seen: pd.DataFrame) -> pd.Series:
    """Films that are among ``seen``, or whose patient group has any film there under its old or its new name."""
    known = films["image_id"].isin(seen["image_id"]) | films["group_id"].isin(seen["group_id"])
    return films["group_id"].isin(films["group_id"][known])


def _too_few(said: Comparison, absent: Sequence[str]) -> str:
    if said.groups >= 2 and not absent:
        return ""
    lacking = f", none of {', '.join(absent)}" if absent and said.films else ""
    return (
        f"only {said.films} test films of {said.groups} patient groups{lacking} are new to it ({said.left_out} are not)"
    )


def _predict(
    predictor: Predictor, test: LabelledFrames, image_ids: Sequence[str], log: Log | None
) -> npt.NDArray[np.float64]:
    place = {key: row for row, key in enumerate(test.keys)}
    if missing := [image_id for image_id in image_ids if image_id not in place]:
        raise CxrError(f"Film {missing[0]} has predictions but is no test film: materialise predictions again.")
    rows = np.asarray([place[image_id] for image_id in image_ids], np.intp)
    found: list[npt.NDArray[np.float64]] = []
    with progress(len(rows), "predicting with the champion", log=log) as advance:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            found.append(softmax(predictor.logits(test.frames.take(chunk))))  # uncalibrated, as the table's are
            advance(len(chunk))
    return np.concatenate(found)
