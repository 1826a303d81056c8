"""What leaves the review queue, and the renewal of its encryption."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from bentoml_service.review.sealed import SealedRows
from bentoml_service.review.store import ReviewStore

__all__ = ["count", "expire", "make_room", "reseal"]

_AT_ONCE = 50  # cases of one transaction: 5 MB of films, and others wait for milliseconds only


def expire(store: ReviewStore, rows: SealedRows, limit: str) -> dict[str, int]:
    """Remove the cases from before ``limit``, whatever their state.

    Returns:
        How many went: ``expired_decided``, ``expired_unread``.
    """
    gone = {"expired_decided": 0, "expired_unread": 0}
    while True:
        with store.writing() as connection:
            found = connection.execute(
                "SELECT seq, id, state FROM cases WHERE created < ? LIMIT ?", (limit, _AT_ONCE)
            ).fetchall()
            _remove(connection, rows, found)
            for state, reason in (("decided", "expired_decided"), ("open", "expired_unread")):
                number = sum(row["state"] == state for row in found)
                gone[reason] += number
                count(connection, reason, number)
        if len(found) < _AT_ONCE:
            return gone


def make_room(connection: sqlite3.Connection, rows: SealedRows, most: int) -> bool:
    """Remove the oldest decided cases until one more fits; False, and nothing removed, where too many are open."""
    surplus = connection.execute("SELECT COUNT(*) FROM cases").fetchone()[0] - most + 1
    if surplus <= 0:
        return True
    oldest = connection.execute(
        "SELECT seq, id FROM cases WHERE state = 'decided' ORDER BY seq LIMIT ?", (surplus,)
    ).fetchall()
    if len(oldest) < surplus:
        return False
    _remove(connection, rows, oldest)
    count(connection, "removed_decided", len(oldest))
    return True


def reseal(store: ReviewStore, rows: SealedRows) -> int:
    """Seal every row with the present key, one transaction a row so that a running service is not held up.

    Returns:
        Number of rows.
    """
    with store.reading() as connection:
        cases = [row["seq"] for row in connection.execute("SELECT seq FROM cases")]
        decisions = [row["seq"] for row in connection.execute("SELECT seq FROM decisions")]
    for seq in cases:
        with store.writing() as connection:
            for row in connection.execute("SELECT * FROM cases WHERE seq = ?", (seq,)).fetchall():
                sealed = rows.reseal_case(row)
                connection.execute("UPDATE cases SET record = ?, frame = ?, film = ? WHERE seq = ?", (*sealed, seq))
    for seq in decisions:
        with store.writing() as connection:
            for row in connection.execute("SELECT * FROM decisions WHERE seq = ?", (seq,)).fetchall():
                sealed_decision = rows.reseal_decision(row)
                connection.execute("UPDATE decisions SET record = ? WHERE seq = ?", (sealed_decision, seq))
    return len(cases) + len(decisions)


def count(connection: sqlite3.Connection, reason: str, number: int = 1) -> int:
    """Add to a tally that every process sees; returns what it has come to."""
    row = connection.execute(
        "INSERT INTO tallies VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count "
        "RETURNING count",
        (reason, number),
    ).fetchone()
    return int(row["count"])


def _remove(connection: sqlite3.Connection, rows: SealedRows, cases: Iterable[sqlite3.Row]) -> None:
    """Delete cases; of their decisions the comment goes and the label stays."""
    for case in cases:
        connection.execute("DELETE FROM cases WHERE seq = ?", (case["seq"],))
        for row in connection.execute("SELECT * FROM decisions WHERE case_id = ?", (case["id"],)).fetchall():
            bare = rows.without_comment(row)
            connection.execute("UPDATE decisions SET record = ? WHERE seq = ?", (bare, row["seq"]))
