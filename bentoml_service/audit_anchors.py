"""Anchors of the audit trail: small signed copies of its head, kept elsewhere, that no older copy can satisfy."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bentoml_service.audit_chain import Anchor, Signed, sign, verify
from bentoml_service.audit_store import AuditStore
from bentoml_service.key_sets import KeySet
from cxr_core.errors import CxrError, explain_os_errors

__all__ = ["kept_anchors", "make_anchor", "read_anchor"]

_MAX_BYTES = 4096  # an anchor has 350


def make_anchor(store: AuditStore, keys: KeySet) -> bytes:
    """A file's content that says what the head is now. The trail keeps a copy, which outlives a pruning of the row.

    Raises:
        AuditUnavailable: the trail cannot be written, or its end is damaged: such an end is not to be anchored.
    """
    with store.changing() as (connection, head):
        time = datetime.now(UTC).isoformat(timespec="seconds")
        anchor = Anchor(head.trail, head.sequence, head.hash, time)
        signed = sign(keys.active, anchor)
        connection.execute(
            "INSERT OR REPLACE INTO anchors VALUES (?, ?, ?, ?)",
            (head.sequence, signed.text, signed.key_id, signed.mac),
        )
    return json.dumps({**asdict(anchor), "key_id": signed.key_id, "mac": signed.mac}, indent=1).encode() + b"\n"


def read_anchor(path: Path, keys: KeySet) -> Anchor | None:
    """The anchor of a file; None where its signature does not hold or its key is not here.

    Raises:
        CxrError: the file cannot be read.
    """
    with explain_os_errors(path, "reading an anchor"), path.open("rb") as stream:
        content = stream.read(_MAX_BYTES)
    try:
        values = json.loads(content)
        key_id, mac = values.pop("key_id"), values.pop("mac")
        text = json.dumps(values, sort_keys=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CxrError(f"{path} is not an anchor of an audit trail: export one with `cxr audit anchor`.") from None
    return verify(keys, Anchor, Signed(text, key_id, mac))


def kept_anchors(connection: sqlite3.Connection, keys: KeySet) -> dict[int, Anchor | None]:
    """The trail's own copies by sequence number; None where the signature does not hold."""
    found = connection.execute("SELECT sequence, text, key_id, mac FROM anchors ORDER BY sequence").fetchall()
    return {sequence: verify(keys, Anchor, Signed(*signed)) for sequence, *signed in found}
