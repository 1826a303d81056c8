"""Bootstrap of every score against a plain loop that calls scikit-learn on the films of each resample."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from benchmarks.harness import Benchmark, side_by_side
from benchmarks.predictions import LABELS, predictions_table
from cxr_core.evaluation.bootstrap import RESAMPLES, resample_weights, resampled_all
from cxr_core.evaluation.metrics import probabilities_of

_LOOP = 40  # resamples that the loop is timed on; its time grows in proportion to their number
_ROUNDS = 5


def measure() -> Benchmark:
    """Seconds of 2,000 resamples of 2,556 films in whole groups, all scores, overall and of each class."""
    table = predictions_table()
    labels, probabilities = table["label_index"].to_numpy(np.int64), probabilities_of(table, len(LABELS))
    groups = table["group_id"].to_numpy(object)
    drawn = np.concatenate(list(resample_weights(groups, 0, _LOOP))).astype(np.int64)

    def ours() -> None:
        resampled_all(labels, [probabilities], groups, 0, RESAMPLES)

    def theirs() -> None:
        for counts in drawn:
            rows = np.repeat(np.arange(len(labels)), counts)
            _scores(labels[rows], probabilities[rows])

    ratio, ours_s, theirs_s = side_by_side(ours, theirs, _ROUNDS)
    scale = RESAMPLES / _LOOP
    note = (
        f"{ours_s:.2f} against {theirs_s * scale:.0f} s for {RESAMPLES:,} resamples of {len(labels):,} films; "
        f"{_LOOP} of the loop's resamples timed, drawn beforehand, and scaled by {scale:g}"
    )
    return Benchmark("bootstrap", ratio * scale, 50.0, "higher", "time, scikit-learn loop over ours", note)


def _scores(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> list[object]:
    """The same scores, each by the function that scikit-learn has for it, classes together where it takes them so."""
    classes = list(range(probabilities.shape[1]))
    said, truth = probabilities.argmax(axis=1), np.eye(len(classes))[labels]
    table = sk.multilabel_confusion_matrix(labels, said, labels=classes)
    return [
        sk.accuracy_score(labels, said),
        sk.precision_recall_fscore_support(labels, said, labels=classes, zero_division=0),  # macro: means of these
        table[:, 0, 0] / table[:, 0].sum(axis=1),
        sk.roc_auc_score(truth, probabilities, average=None),
        sk.average_precision_score(truth, probabilities, average=None),
        sk.matthews_corrcoef(labels, said),
        sk.cohen_kappa_score(labels, said),
        ((probabilities - truth) ** 2).mean(axis=0),
        sk.log_loss(labels, probabilities, labels=classes),
        probabilities.max(axis=1).mean(),
    ]
