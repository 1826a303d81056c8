"""Whether the answer hangs on how a film is framed: the same films centred, shifted and cropped (report 6.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.dataset.frames import Frames, LabelledFrames
from cxr_core.errors import CxrError
from cxr_core.evaluation.availability import available, finite_probabilities, unavailable
from cxr_core.evaluation.bootstrap import percentile_interval, resample_weights
from cxr_core.evaluation.probabilities import softmax
from cxr_core.settings_trust import SubgroupSettings
from cxr_core.trust.crop_frames import DIRECTIONS, FramedFrames, direction_of, framings
from cxr_core.trust.failure_shares import group_share
from cxr_core.trust.subgroup_gaps import stratum_gaps
from cxr_core.trust.subgroup_multiplicity import benjamini_hochberg, holm
from cxr_core.trust.subgroup_strata import Stratum

__all__ = ["Predict", "crop_sensitivity"]

Floats = npt.NDArray[np.float64]
Predict = Callable[[Frames], npt.NDArray[np.floating]]


def crop_sensitivity(
    predict: Predict,
    centred: npt.NDArray[np.floating],
    labelled: LabelledFrames,
    groups: Sequence[str],
    names: Sequence[str],
    settings: SubgroupSettings,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Compare every framing with the centred films, film by film; one pass of the model a framing, none for centred.

    Args:
        predict: frames to logits (n, k), in the order of the frames.
        centred: (n, k) logits of the frames as they are.
        labelled: the films; their keys draw the directions.
        groups: n group names.
        names: k class names.
        settings: shifts, crops, smallest sizes, permutations.
        seed: of directions, bootstrap and permutations.
        resamples: of the bootstrap.

    Returns:
        JSON-ready: ``n``, ``directions`` (films that move each way) and ``conditions``: for each framing ``changed``
        (share of films whose predicted class differs, exact interval), ``changed_by_direction``, ``probability_change``
        (mean over the films of half the sum of absolute changes, 0-1), ``accuracy``, ``accuracy_change`` (paired), and
        ``classes``: the probability change of each class's films (``change``) and its ``gap`` to the other classes with
        Holm's p over the classes of all framings; ``uneven``: classes whose films surely change more.

    Raises:
        CxrError: no films, shapes that do not match, or logits that are no numbers.
    """
    n = len(labelled)
    if not n:
        raise CxrError("No films to frame anew: pass the test split.")
    if len(groups) != n or np.shape(centred) != (n, len(names)):
        raise CxrError(
            f"{n} films, {len(groups)} groups and centred logits of shape {np.shape(centred)} do not match: pass one "
            "row a film."
        )
    before = _probabilities(centred)
    ways = np.array([direction_of(key, seed) for key in labelled.keys])
    films = _Films(before, labelled.labels, np.asarray(groups, dtype=object), names, ways, settings, seed, resamples)
    conditions: dict[str, dict[str, Any]] = {}
    for framing in framings(settings):
        logits = predict(FramedFrames(labelled.frames, labelled.keys, framing, seed))
        if np.shape(logits) != before.shape:
            raise CxrError(f"The model answered {np.shape(logits)} for {n} films: predict must keep their order.")
        conditions[framing.name] = films.compare(_probabilities(logits))
    _adjust(conditions, settings.alpha)
    return {
        "n": n,
        "groups": len(set(groups)),
        "directions": {name: int((ways == name).sum()) for name in DIRECTIONS},
        "conditions": conditions,
    }


class _Films:
    """The centred films, against which framings are compared."""

    def __init__(
        self,
        before: Floats,
        labels: npt.NDArray[np.int64],
        groups: npt.NDArray[np.object_],
        names: Sequence[str],
        ways: npt.NDArray[np.str_],
        settings: SubgroupSettings,
        seed: int,
        resamples: int,
    ) -> None:
        self._before, self._labels, self._groups, self._ways = before, labels, groups, ways
        self._settings, self._seed, self._resamples = settings, seed, resamples
        everywhere = np.ones(len(labels), bool)
        there = [place for place in range(len(names)) if (labels == place).any()]
        self._classes = [Stratum("class", names[place], labels == place, everywhere) for place in there]

    def compare(self, after: Floats) -> dict[str, Any]:
        said, new = self._before.argmax(axis=1), after.argmax(axis=1)
        moved = np.abs(after - self._before).sum(axis=1) / 2
        right = (new == self._labels).astype(np.float64)
        change = right - (said == self._labels)
        by_class = stratum_gaps(
            moved,
            np.zeros(len(moved), np.int64),
            self._groups,
            ["all"],
            self._classes,
            self._settings,
            self._seed,
            self._resamples,
        )
        classes = {
            stratum.name: {
                "films": int(stratum.member.sum()),
                "change": self._mean(moved, stratum.member),
                "gap": gaps["gap"],
            }
            for stratum, gaps in zip(self._classes, by_class, strict=True)
        }
        return {
            "changed": group_share(said != new, self._groups),
            "changed_by_direction": {
                name: group_share((said != new)[self._ways == name], self._groups[self._ways == name])
                for name in DIRECTIONS
            },
            "probability_change": self._mean(moved, np.ones(len(moved), bool)),
            "accuracy": group_share(right > 0, self._groups),
            "accuracy_change": self._paired(change),
            "classes": classes,
        }

    def _paired(self, change: Floats) -> dict[str, Any]:
        """Mean change; where no film becomes right or wrong, within the exact bound on how many others might."""
        if change.any():
            return self._mean(change, np.ones(len(change), bool))
        bound = group_share(change != 0, self._groups)["high"]
        return available(0.0, -bound, bound)

    def _mean(self, values: Floats, member: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Mean with its bootstrap interval over groups, of no width where no film differs from another."""
        if not member.any():
            return unavailable("there are no films")
        groups = self._groups[member]
        if len(set(groups.tolist())) < 2:
            return available(float(values[member].mean()))
        drawn = [w @ values[member] / w.sum(axis=1) for w in resample_weights(groups, self._seed, self._resamples)]
        interval = percentile_interval(np.concatenate(drawn), keep_flat=True)
        low, high = (interval["low"], interval["high"]) if interval else (None, None)
        return available(float(values[member].mean()), low, high)


def _adjust(conditions: dict[str, dict[str, Any]], alpha: float) -> None:
    """Make the class gaps of all framings one family, and name the classes that surely change more."""
    gaps = [entry["gap"] for condition in conditions.values() for entry in condition["classes"].values()]
    p = np.array([gap["p"] for gap in gaps], np.float64)
    for gap, h, q in zip(gaps, holm(p), benjamini_hochberg(p), strict=True):
        if gap["p"] is not None:
            gap.update(holm=float(h), q=float(q))
    for condition in conditions.values():
        condition["uneven"] = [
            name
            for name, entry in condition["classes"].items()
            if entry["gap"]["holm"] is not None and entry["gap"]["holm"] <= alpha and entry["gap"]["value"] > 0
        ]


def _probabilities(logits: npt.NDArray[np.floating]) -> Floats:
    return softmax(finite_probabilities(logits, "l_"))
