"""Pruning of the audit trail: rows past their retention go, a signed proof of what went stays."""

from __future__ import annotations

import sqlite3
import uuid
from datetime import UTC, datetime, timedelta

from bentoml_service.audit_anchors import kept_anchors
from bentoml_service.audit_chain import START, Cut, Head, Row, sign
from bentoml_service.audit_end import read_cuts
from bentoml_service.audit_log import AuditEvent, payload
from bentoml_service.audit_reading import rows
from bentoml_service.audit_store import AuditStore
from bentoml_service.key_sets import KeySet
from cxr_core.errors import CxrError

__all__ = ["prune"]

_ROWS_AT_ONCE = 5000  # removed in one transaction: a fraction of a second in which the service waits


def prune(store: AuditStore, keys: KeySet, retention_days: int, now: datetime) -> int:
    """Remove the oldest rows up to the first one that is young enough, after checking them.

    Each transaction removes a stretch, writes its proof and adds a row that says so: an interruption leaves a whole
    trail. A row behind a younger one (the clock was put back) stays until that one goes.

    Returns:
        Number of rows removed.

    Raises:
        AuditUnavailable: the trail cannot be written, or its end is damaged.
        CxrError: a row to be removed was altered: a pruning must not hide that.
    """
    limit = round((now - timedelta(days=retention_days)).timestamp() * 1e6)
    keys, removed = keys.as_now(), 0
    while True:
        with store.changing() as (connection, head):
            old = _old_rows(connection, keys, head, limit)
            if not old:
                break
            cut = Cut(
                head.trail,
                old[0].sequence,
                old[-1].sequence,
                len(old),
                old[-1].hash.hex(),
                now.astimezone(UTC).isoformat(timespec="seconds"),
                retention_days,
            )
            signed = sign(keys.active, cut)
            connection.execute("DELETE FROM entries WHERE sequence <= ?", (cut.last,))
            connection.execute(
                "INSERT INTO cuts VALUES (?, ?, ?, ?)", (cut.last, signed.text, signed.key_id, signed.mac)
            )
            store.extend(head, [payload(_event(cut))])
        removed += cut.count
    if removed:
        store.forget_removed()
    return removed


def _old_rows(connection: sqlite3.Connection, keys: KeySet, head: Head, limit: int) -> list[Row]:
    """The next stretch of rows before the time ``limit``, each checked against the one before."""
    cuts = read_cuts(connection, keys)
    proof = list(cuts.values())[-1] if cuts else None
    if cuts and proof is None:
        raise CxrError("The proof of the last pruning does not hold: see `cxr audit verify`; nothing was removed.")
    expected, before = (proof.last + 1, bytes.fromhex(proof.hash)) if proof else (1, START)
    anchors = {number: anchor for number, anchor in kept_anchors(connection, keys).items() if anchor}
    found: list[Row] = []
    for row in rows(connection, limit=_ROWS_AT_ONCE):
        anchored = anchors.get(row.sequence)
        if (
            row.state(keys, head.trail) != "genuine"
            or not row.follows(head.trail, before)
            or (anchored is not None and anchored.hash != row.hash.hex())
        ):
            raise CxrError(
                f"Row {expected} of the audit trail is not as it was written, and stays with all after it: "
                "see `cxr audit verify`."
            )
        if row.time >= limit:
            break
        found.append(row)
        expected, before = row.sequence + 1, row.hash
    return found


def _event(cut: Cut) -> AuditEvent:
    detail = {"first": cut.first, "last": cut.last, "count": cut.count, "hash": cut.hash, "days": cut.retention_days}
    return AuditEvent(request_id=str(uuid.uuid4()), route="cxr audit prune", code="pruned", detail=detail)
