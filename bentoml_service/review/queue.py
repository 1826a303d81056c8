"""The review queue: flagged films wait, encrypted, for a reader; what readers decide is kept and never overwritten.

What goes when there is no room, and why:

* A case older than the retention goes with its film, whatever its state: that films are not kept longer is a promise.
  One that nobody had decided is counted as ``expired_unread``.
* A queue that is full makes room by removing its oldest decided cases. Where all are open the new film is refused and
  counted as ``refused_full``: a film that waits for a reader is never pushed out by a later one, and the answer that
  goes without a case tells so.
* The label of a decision outlives its case, without the comment: it is what the pipeline learns from.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bentoml_service.problems import RequestError
from bentoml_service.review import upkeep
from bentoml_service.review.cases import Action, Case, Correction, Decision, NewCase, State
from bentoml_service.review.sealed import SealedRows, Sealer
from bentoml_service.review.store import ReviewStore
from cxr_core.errors import CxrError
from cxr_core.settings_service import ReviewSettings

__all__ = ["ReviewQueue"]

_PRUNE_SECONDS = 3600.0  # between two looks for expired cases
_JOINED = (
    "SELECT c.seq, c.id, c.created, c.state, c.content_digest, c.model_digest, c.record, d.id AS decision_id, "
    "d.record AS decision, (SELECT COUNT(*) FROM decisions WHERE case_id = c.id) AS decisions FROM cases c "
    "LEFT JOIN decisions d ON d.seq = (SELECT MAX(seq) FROM decisions WHERE case_id = c.id) "
)
_TALLIES = ("refused_full", "removed_decided", "expired_decided", "expired_unread")

_logger = logging.getLogger("cxr.service")


class ReviewQueue:
    """The queue over one file, which several worker processes open at once.

    Args:
        path: the SQLite file; made with its folder where it is missing.
        cipher: seals films, predictions and comments.
        settings: how many cases are kept, and how long.

    Raises:
        CxrError: the file cannot be used, or was sealed by a key that is not here; from every method.
    """

    def __init__(self, path: Path, cipher: Sealer, settings: ReviewSettings) -> None:
        self.settings = settings
        self._rows = SealedRows(cipher)
        self._store = ReviewStore(path)
        self.prune()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="cxr-review", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Close the file."""
        self._closing.set()
        self._keeper.join()
        self._store.close()

    # ------------------------------------------------------------------ filling
    def known(self, content_digest: str, model_digest: str) -> str | None:
        """Id of the case of a content and a model, if there is one: cheaper to ask than to draw its pictures."""
        with self._store.reading() as connection:
            return _known(connection, content_digest, model_digest)

    def add(self, case: NewCase) -> str | None:
        """Queue a film.

        Returns:
            Id of its case; that of the first time where the same content came before under the same model. ``None``
            where the queue is full of cases that wait for a reader.
        """
        made = str(uuid.uuid4())
        sealed = self._rows.new_case(made, case)
        with self._store.writing() as connection:
            if before := _known(connection, case.content_digest, case.model_digest):
                return before
            if not upkeep.make_room(connection, self._rows, self.settings.max_cases):
                refused = upkeep.count(connection, "refused_full")
                _logger.warning("the review queue is full of open cases: %d films refused so far", refused)
                return None
            connection.execute(
                "INSERT INTO cases (id, created, state, content_digest, model_digest, record, frame, film) "
                "VALUES (?, ?, 'open', ?, ?, ?, ?, ?)",
                (made, _text(datetime.now(UTC)), case.content_digest, case.model_digest, *sealed),
            )
        return made

    # ------------------------------------------------------------------ reading
    def cases(self, state: State = "open", limit: int = 50, after: str | None = None) -> list[Case]:
        """Cases of a state, oldest first.

        Args:
            state: ``open`` or ``decided``.
            limit: at most so many.
            after: id of the case to go on behind.

        Raises:
            RequestError: 404 ``unknown_case`` where ``after`` is none.
        """
        with self._store.reading() as connection:
            start = 0 if after is None else _one(connection, "SELECT seq FROM cases WHERE id = ?", after)["seq"]
            rows = connection.execute(
                f"{_JOINED} WHERE c.state = ? AND c.seq > ? ORDER BY c.seq LIMIT ?", (state, start, limit)
            ).fetchall()
        return [self._rows.case(row) for row in rows]

    def case(self, case_id: str) -> Case:
        """One case.

        Raises:
            RequestError: 404 ``unknown_case``.
        """
        with self._store.reading() as connection:
            row = _one(connection, f"{_JOINED} WHERE c.id = ?", case_id)
        return self._rows.case(row)

    def film(self, case_id: str) -> bytes:
        """PNG of the film, reduced to ``preview_side``.

        Raises:
            RequestError: 404 ``unknown_case``.
        """
        return self._picture(case_id, "film")

    def frame(self, case_id: str) -> bytes:
        """PNG of the frame that the network saw.

        Raises:
            RequestError: 404 ``unknown_case``.
        """
        return self._picture(case_id, "frame")

    def counts(self) -> dict[str, int]:
        """Numbers of cases ``open`` and ``decided``, and of those that went or never came since the queue was made:
        ``refused_full``, ``removed_decided``, ``expired_decided``, ``expired_unread``."""
        with self._store.reading() as connection:
            found = dict(connection.execute("SELECT state, COUNT(*) FROM cases GROUP BY state").fetchall())
            found.update(connection.execute("SELECT reason, count FROM tallies").fetchall())
        return {name: int(found.get(name, 0)) for name in ("open", "decided", *_TALLIES)}

    # ------------------------------------------------------------------ deciding
    def decide(self, case_id: str, action: Action, label: str | None, comment: str, key_id: str) -> Case:
        """Keep what a reader says of a case; it replaces what was said before, which is kept too.

        Args:
            case_id: the case.
            action: ``accept`` takes the model's label, ``correct`` another.
            label: the right label, for ``correct`` alone.
            comment: free text.
            key_id: id of the reader's key.

        Raises:
            RequestError: 404 ``unknown_case``; 422 ``unknown_label`` where the label is none of the model's.
        """
        case = self.case(case_id)
        given = case.prediction if action == "accept" else label
        if given is None or given not in case.probabilities:
            raise RequestError(422, "unknown_label", f"The label must be one of {', '.join(case.probabilities)}.")
        decision = Decision(action, given, comment, key_id, _text(datetime.now(UTC)))
        decision_id = str(uuid.uuid4())
        sealed = self._rows.new_decision(decision_id, case, decision)
        with self._store.writing() as connection:
            if not connection.execute("UPDATE cases SET state = 'decided' WHERE id = ?", (case_id,)).rowcount:
                raise _unknown_case()  # its time was over in between
            connection.execute(
                "INSERT INTO decisions (id, case_id, content_digest, model_digest, record) VALUES (?, ?, ?, ?, ?)",
                (decision_id, case_id, case.content_digest, case.model_digest, sealed),
            )
        return self.case(case_id)

    def history(self, case_id: str) -> list[Decision]:
        """Every decision of a case, oldest first; of a case that is gone without the comments."""
        with self._store.reading() as connection:
            rows = connection.execute("SELECT * FROM decisions WHERE case_id = ? ORDER BY seq", (case_id,)).fetchall()
        return [self._rows.decision(row) for row in rows]

    def corrections(self) -> list[Correction]:
        """The label that holds for each content that readers decided about, sorted by content."""
        with self._store.reading() as connection:
            rows = connection.execute("SELECT * FROM decisions ORDER BY seq").fetchall()
        latest = {row["content_digest"]: row for row in rows}
        return [self._rows.correction(row) for _, row in sorted(latest.items())]

    # ------------------------------------------------------------------ keeping
    def prune(self) -> dict[str, int]:
        """Remove what is older than the retention; returns how many cases went, by reason."""
        limit = datetime.now(UTC) - timedelta(days=self.settings.retention_days)
        gone = upkeep.expire(self._store, self._rows, _text(limit))
        if unread := gone["expired_unread"]:
            _logger.warning("%d cases of the review queue expired before a reader decided", unread)
        return gone

    def reseal(self) -> int:
        """Seal every row with the cipher's present key; returns the number of rows.

        Interrupted, it is run again. Afterwards no row needs an older key.
        """
        return upkeep.reseal(self._store, self._rows)

    def _keep(self) -> None:
        """Keep the promise of the retention while nobody asks for anything."""
        while not self._closing.wait(_PRUNE_SECONDS):
            try:
                self.prune()
            except CxrError as error:
                _logger.error("%s", error)

    def _picture(self, case_id: str, part: str) -> bytes:
        with self._store.reading() as connection:
            row = _one(connection, f"SELECT id, {part}, content_digest, model_digest FROM cases WHERE id = ?", case_id)
        return self._rows.picture(row, part)


def _known(connection: sqlite3.Connection, content_digest: str, model_digest: str) -> str | None:
    row = connection.execute(
        "SELECT id FROM cases WHERE content_digest = ? AND model_digest = ?", (content_digest, model_digest)
    ).fetchone()
    return row["id"] if row else None


def _one(connection: sqlite3.Connection, query: str, case_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(query, (case_id,)).fetchone()
    if row is None:
        raise _unknown_case()
    return row


def _unknown_case() -> RequestError:
    return RequestError(404, "unknown_case", "There is no such case: it may have been removed when its time was over.")


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
