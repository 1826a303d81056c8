"""Predictions for a whole folder: with progress, and going on where a killed run stood."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_core.client.answers import Answer, ModelIdentity
from cxr_core.client.asking import ask_about
from cxr_core.client.films import Found, find_films
from cxr_core.client.journal import Journal
from cxr_core.client.models import FilmModel
from cxr_core.client.outcome import Row
from cxr_core.client.results import check_format, write_results
from cxr_core.progress import Log, progress

__all__ = ["FolderResult", "journal_path", "predict_folder"]

_PASSES = 3  # a service that goes on changing its model after so many is a mixture of several

_logger = logging.getLogger("cxr.client")


@dataclass(frozen=True)
class FolderResult:
    """What became of a folder.

    Attributes:
        rows: one a file, in the order of the files.
        model: the model that was served last.
        others: files left out because they are no films.
        asked: films that were sent in this run.
        out: the file of the results.
    """

    rows: tuple[Row, ...]
    model: ModelIdentity
    others: int
    asked: int
    out: Path

    @property
    def predictions(self) -> dict[str, int]:
        """Number of films by predicted class."""
        answers = (row.outcome for row in self.rows if isinstance(row.outcome, Answer))
        return dict(sorted(Counter(answer.prediction for answer in answers).items()))

    @property
    def errors(self) -> dict[str, int]:
        """Number of films without an answer, by code."""
        refusals = (row.outcome for row in self.rows if not isinstance(row.outcome, Answer))
        return dict(sorted(Counter(refusal.code for refusal in refusals).items()))

    @property
    def models(self) -> tuple[str, ...]:
        """Digests of the models that answered; one, unless a service changes without end."""
        return tuple(sorted({row.outcome.model.digest for row in self.rows if isinstance(row.outcome, Answer)}))


def journal_path(out: Path) -> Path:
    """Where the journal of a result file lies: beside it."""
    return out.with_name(f"{out.name}.journal")


def predict_folder(
    paths: Sequence[Path] | Path,
    model: FilmModel,
    out: Path,
    *,
    concurrency: int = 2,
    fresh: bool = False,
    log: Log | None = None,
) -> FolderResult:
    """Classify every film under some paths and write one row a file.

    Each answer is kept in the journal beside ``out`` at once. A run that was killed goes on there: what the model has
    answered is not sent again, also when films were added or moved. When the service changes its model in the midst,
    the films of the other model are sent again. ``out`` appears as a whole, in the end.

    Args:
        paths: folders and files; see :func:`find_films`.
        model: a service or a local package.
        out: ``.csv``, ``.parquet`` or ``.jsonl``.
        concurrency: requests under way at the same time.
        fresh: forget the journal.
        log: where sentences go; those of the logger ``cxr.client`` otherwise.

    Raises:
        CxrError: no film, an unfit ``out``, the service cannot be used; what was answered is kept.
    """
    say = log or _logger.info
    check_format(out)
    found = find_films([paths] if isinstance(paths, Path) else list(paths))
    with Journal(journal_path(out), fresh) as journal:
        current = model.identity()
        _say_of_others(journal, current, say)
        asked = 0
        for _ in range(_PASSES):
            rows = _one_pass(found, model, current, journal, concurrency, log)
            asked += sum(row.origin == "asked" for row in rows)
            answered = {row.outcome.model.digest for row in rows if isinstance(row.outcome, Answer)}
            latest = model.identity()
            if answered <= {latest.digest}:
                break
            say(f"The model changed to {latest.name} {latest.version} ({latest.digest[:12]}) meanwhile.")
            current = latest
        else:
            say(f"Answers come from {len(answered)} models, see the column model: the service goes on changing them.")
    write_results(rows, out)
    return FolderResult(tuple(rows), latest, found.others, asked, out)


def _one_pass(
    found: Found, model: FilmModel, current: ModelIdentity, journal: Journal, concurrency: int, log: Log | None
) -> list[Row]:
    rows: list[Row] = []
    with progress(len(found.films), "predicting", "films", log) as advance:
        for row in ask_about(found.films, model, current.digest, journal, concurrency):
            rows.append(row)
            advance(1)
    return rows


def _say_of_others(journal: Journal, current: ModelIdentity, say: Log) -> None:
    known = journal.models()
    if here := known.pop(current.digest, 0):
        say(f"{here} films were answered by this model before; they are not sent again.")
    if known:
        say(f"{sum(known.values())} films were answered by another model before; they are sent again.")
