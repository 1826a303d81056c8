"""What it buys to send the least certain films to a human: policies, orderings, and the report's flag beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_core.evaluation.bootstrap import Interval, percentile_interval, resample_weights
from cxr_core.evaluation.intervals import MIN_GROUPS, entry
from cxr_core.evaluation.selective import Ordering, perfect_area

__all__ = ["COVERAGES", "Reading", "flag_report", "selective_report"]

Floats = npt.NDArray[np.float64]
Statistics = dict[Any, Floats]

COVERAGES: tuple[float, ...] = tuple(np.linspace(0.05, 1, 39).round(4).tolist())  # of the curves, every 2.5 %


@dataclass(frozen=True)
class Reading:
    """Films and what the model called them.

    Attributes:
        labels: (n,) class indices.
        predicted: (n,) class indices.
        groups: n group names; films of one group are drawn together.
        names: k class names.
        followed: class whose sensitivity is followed, if it is among them.
    """

    labels: npt.NDArray[np.integer]
    predicted: npt.NDArray[np.integer]
    groups: Sequence[str] | npt.NDArray[np.object_]
    names: Sequence[str]
    followed: str = ""

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Whether each film was called something else than it is, (n,)."""
        return np.asarray(self.labels != self.predicted)

    @property
    def cells(self) -> Floats:
        """Which cell of the confusion matrix each film falls into, (n, k x k) of 0 and 1."""
        k = len(self.names)
        return np.asarray(np.eye(k * k)[self.labels * k + self.predicted])

    def scores(self, counts: Floats) -> Statistics:
        """Accuracy, macro F1 and the followed class's sensitivity of confusion matrices, (b, k x k)."""
        k = len(self.names)
        confusion = counts.reshape(-1, k, k)
        right = np.einsum("bcc->bc", confusion)
        true, said = confusion.sum(axis=2), confusion.sum(axis=1)
        present = np.unique(self.labels)
        f1 = np.where(true > 0, _ratio(2 * right, true + said), np.nan)[:, present]
        found = {"accuracy": _ratio(right.sum(axis=1), true.sum(axis=1))}
        found["macro_f1"] = f1.mean(axis=1) if len(present) else np.full(len(counts), np.nan)
        recall = _ratio(right, true)
        followed = list(self.names).index(self.followed) if self.followed in self.names else None
        found["sensitivity"] = recall[:, followed] if followed is not None else np.full(len(counts), np.nan)
        return found

    def entries(self, statistics: Callable[[Floats], Statistics], seed: int, resamples: int) -> dict[Any, Any]:
        """Each statistic of the films with its interval over resampled groups; its name ends in what it is about."""
        values = statistics(np.ones((1, len(self.labels))))
        _, codes = np.unique(np.asarray(self.groups, dtype=str), return_inverse=True)
        everyone = len(np.unique(codes))
        blocks = [statistics(w) for w in resample_weights(self.groups, seed, resamples)] if everyone > 1 else []
        behind = {"errors_caught": (self.wrong, "with a misread film", "no film is misread")}
        if self.followed in self.names:
            rows = self.labels == list(self.names).index(self.followed)
            behind["sensitivity"] = rows, f"with {self.followed}", f"no film of {self.followed} is among them"
        present = np.unique(self.labels)
        alone = f"every film is {self.names[int(present[0])]}" if len(present) == 1 else None
        found: dict[Any, Any] = {}
        for name, value in values.items():
            rows, which, missing = behind.get(name[-1], (None, "", "it is undefined for these films"))
            count = everyone if rows is None else len(np.unique(codes[rows]))
            few = f"{count} patient groups {which}".rstrip() + f", at least {MIN_GROUPS} are needed"
            spread = np.concatenate([block[name] for block in blocks]) if blocks else np.full(1, np.nan)
            why_not = (alone or missing) if name[-1] == "macro_f1" else missing
            number = None if np.isnan(value[0]) or why_not == alone else float(value[0])
            found[name] = entry(number, spread, why_not=why_not, few=few if count < MIN_GROUPS else None)
        return found


def selective_report(
    reading: Reading, uncertainties: Mapping[str, Floats], shares: Sequence[float], seed: int, resamples: int
) -> dict[str, Any]:
    """Orderings of the films by uncertainty, and what a human who reads the least certain of them buys.

    Args:
        reading: the films.
        uncertainties: measure to (n,) values, larger for less certain.
        shares: of the films that a policy refers, 0-1.
        seed, resamples: of the bootstrap; every measure sees the same resamples.

    Returns:
        JSON-ready: ``films``, ``errors``. ``areas``: area under the risk-coverage curve of a ``random`` and of a
        ``perfect`` ordering and of each measure (``measures``), which has also ``gain`` (random - its own) and
        ``excess`` (its own - perfect; Geifman, Uziel and El-Yaniv, ICLR 2019). ``curves``: ``coverage``, ``perfect``,
        and of each measure ``risk``, ``low``, ``high``. ``unreferred``: scores of all films. ``policies``: for each
        measure and share the scores among the kept films (``accuracy``, ``macro_f1``, ``sensitivity``), what
        ``accuracy_gained`` over all films, and the share of errors among the referred (``errors_caught``; a random
        policy catches ``referred`` of them).
    """
    wrong, cells = reading.wrong, reading.cells
    misread = 1 - np.eye(len(reading.names)).ravel()  # cells of the confusion matrix off its diagonal
    orderings = {name: Ordering(values) for name, values in uncertainties.items()}
    curves: dict[str, list[Floats]] = {}

    def statistics(weights: Floats) -> Statistics:
        unreferred = reading.scores(weights @ cells)
        errors = weights @ wrong.astype(np.float64)
        random, perfect = 1 - unreferred["accuracy"], perfect_area(weights, wrong)
        found: Statistics = {("unreferred", name): values for name, values in unreferred.items()}
        found |= {("random", "area"): random, ("perfect", "area"): perfect}
        for measure, ordering in orderings.items():
            weighed = ordering.weigh(weights, wrong)
            area = weighed.area()
            curves.setdefault(measure, []).append(weighed.risks(np.array(COVERAGES)))
            found |= {
                (measure, "area"): area,
                (measure, "gain"): random - area,
                (measure, "excess"): area - perfect,
            }
            for share in shares:
                kept = weighed.kept(cells, 1 - share)
                scores = reading.scores(kept)
                found |= {(measure, share, name): values for name, values in scores.items()}
                found[measure, share, "accuracy_gained"] = scores["accuracy"] - unreferred["accuracy"]
                found[measure, share, "errors_caught"] = 1 - _ratio(kept @ misread, errors)
        return found

    entries = reading.entries(statistics, seed, resamples)
    scores = ("accuracy", "macro_f1", "sensitivity")
    return {
        "films": len(wrong),
        "errors": int(wrong.sum()),
        "followed": reading.followed,
        "areas": {
            "random": entries["random", "area"],
            "perfect": entries["perfect", "area"],
            "measures": {m: {key: entries[m, key] for key in ("area", "gain", "excess")} for m in orderings},
        },
        "curves": _curves(reading, curves),
        "unreferred": {name: entries["unreferred", name] for name in scores},
        "policies": [
            {
                "measure": measure,
                "referred": share,
                **{n: entries[measure, share, n] for n in (*scores, "accuracy_gained", "errors_caught")},
            }
            for measure in orderings
            for share in shares
        ],
    }


def flag_report(
    reading: Reading,
    confidence: Floats,
    threshold: float,
    uncertainties: Mapping[str, Floats],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """A flag on low confidence, against policies that refer as many films.

    Args:
        reading: the films.
        confidence: (n,) probability of the class called.
        threshold: confidence below it is flagged.
        uncertainties: measure to (n,) values, larger for less certain.
        seed, resamples: of the bootstrap; in each resample the policies refer as many films as the flag does there.

    Returns:
        JSON-ready: ``threshold``; ``films`` flagged; ``share`` of the films flagged; share of the errors that are
        ``errors_caught``; ``accuracy`` among the others; ``over_random``: errors caught beyond a random policy of
        equal rate; ``equal_rate``: errors caught by each measure; ``best`` of them with ``measure`` and
        ``over_flag``, chosen on these same films and so a little flattered; ``sentence``.
    """
    wrong = reading.wrong.astype(np.float64)
    flagged = confidence < threshold
    orderings = {name: Ordering(values) for name, values in uncertainties.items()}

    def statistics(weights: Floats) -> Statistics:
        total, errors = weights.sum(axis=1), weights @ wrong
        kept = weights * ~flagged
        share, caught = 1 - _ratio(kept.sum(axis=1), total), 1 - _ratio(kept @ wrong, errors)
        found: Statistics = {
            ("share",): share,
            ("errors_caught",): caught,
            ("accuracy",): 1 - _ratio(kept @ wrong, kept.sum(axis=1)),
            ("over_random", "errors_caught"): caught - share,
        }
        for measure, ordering in orderings.items():
            policy = 1 - _ratio(ordering.weigh(weights, reading.wrong).kept(wrong[:, None], 1 - share)[:, 0], errors)
            found[measure, "errors_caught"] = policy
            found[measure, "over_flag", "errors_caught"] = policy - caught
        return found

    entries = reading.entries(statistics, seed, resamples)
    report: dict[str, Any] = {
        "threshold": threshold,
        "films": int(flagged.sum()),
        **{name: entries[name,] for name in ("share", "errors_caught", "accuracy")},
        "over_random": entries["over_random", "errors_caught"],
        "equal_rate": {measure: entries[measure, "errors_caught"] for measure in orderings},
        "best": None,
    }
    share, caught = report["share"]["value"], report["errors_caught"]["value"]
    if share is None or caught is None:
        reason = report["errors_caught"].get("reason", "there is no film")
        return {**report, "sentence": f"What a flag below {threshold:g} catches is not available: {reason}."}
    if not flagged.any():
        return {**report, "sentence": f"No film has a confidence below {threshold:g}: the flag refers none."}
    best = max(orderings, key=lambda measure: report["equal_rate"][measure]["value"])
    report["best"] = {"measure": best, "over_flag": entries[best, "over_flag", "errors_caught"]}
    report["sentence"] = (
        f"A flag below {threshold:g} sends {share:.1%} of the films to a human and catches {caught:.1%} of the errors; "
        f"ordered by {best.replace('_', ' ')}, as many films hold {report['equal_rate'][best]['value']:.1%} of them, "
        f"drawn at random {share:.1%}."
    )
    return report


def _curves(reading: Reading, risks: Mapping[str, Sequence[Floats]]) -> dict[str, Any]:
    """Curves with bands from the risks of all films, the first row, and those of the resamples."""
    wrong = reading.wrong
    perfect = Ordering(wrong.astype(np.float64)).weigh(np.ones((1, len(wrong))), wrong).risks(np.array(COVERAGES))
    several = len(np.unique(np.asarray(reading.groups, dtype=str))) >= MIN_GROUPS
    found: dict[str, Any] = {"coverage": list(COVERAGES), "perfect": _plain(perfect[0]), "measures": {}}
    for measure, (films, *resampled) in risks.items():
        ends: list[Interval | None] = [None] * len(COVERAGES)
        if several:
            ends = [percentile_interval(column) for column in np.concatenate(resampled).T]
        found["measures"][measure] = {
            "risk": _plain(films[0]),
            "low": [end["low"] if end else None for end in ends],
            "high": [end["high"] if end else None for end in ends],
        }
    return found


def _plain(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
