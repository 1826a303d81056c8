"""Verification of an audit trail: reads every row and says which were edited, deleted, inserted, moved or rewritten.

Needs the audit keys alone. What an intruder without them does is found; an older copy of the whole file needs an anchor
that was kept elsewhere (TRAPS 19).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bentoml_service.audit_anchors import kept_anchors
from bentoml_service.audit_chain import START, Anchor, Cut, Head, Row
from bentoml_service.audit_end import SCHEMA, read_cuts, read_head, read_schema, unsigned_trail
from bentoml_service.audit_findings import Finding, Findings
from bentoml_service.audit_reading import opened_to_read, rows
from bentoml_service.key_sets import KeySet

__all__ = ["Report", "verify_trail"]


_ROWS_TO_PROVE = 100  # one genuine row among the first is enough to believe an unsigned name


@dataclass(frozen=True)
class Report:
    """What a verification found.

    Attributes:
        rows: rows read.
        pruned: rows removed by prunings whose proofs hold.
        head: the verified head, None where it is damaged.
        findings: what is wrong; empty for a trail that is as it was written.
        notes: what could not be checked, though nothing is known to be wrong.
    """

    rows: int
    pruned: int
    head: Head | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def verify_trail(path: Path, keys: KeySet, anchors: Mapping[str, Anchor | None]) -> Report:
    """Check a whole trail, beside the running service or on a copy.

    Args:
        path: the trail's file.
        keys: the audit keys, old ones too.
        anchors: file name to anchor, None for one whose signature does not hold.

    Raises:
        CxrError: there is no such file, or it cannot be opened.
    """
    check = _Check(keys.as_now(), anchors)
    with opened_to_read(path) as connection:
        try:
            check.run(connection)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            check.findings.add("unreadable", f"The file is damaged: SQLite says {type(error).__name__}.")
    return Report(check.rows, check.pruned, check.head, check.findings.all(), tuple(check.notes))


class _Check:
    """One verification: the state between its steps."""

    def __init__(self, keys: KeySet, anchors: Mapping[str, Anchor | None]) -> None:
        self.keys = keys
        self.anchors = {name: anchor for name, anchor in anchors.items() if anchor}
        self.findings = Findings()
        self.notes: list[str] = []
        self.rows = self.pruned = 0
        self.head: Head | None = None
        self._hashes: dict[int, str] = {}  # of the genuine rows that a head or an anchor names
        for name in anchors.keys() - self.anchors.keys():
            self.findings.add(
                "anchor", f"{name} is not a genuine anchor: its signature does not hold under these keys."
            )

    def run(self, connection: sqlite3.Connection) -> None:
        schema = read_schema(connection)
        if strange := sorted(name for name in {**schema, **SCHEMA} if schema.get(name) != SCHEMA.get(name)):
            self.findings.add("schema", f"Tables or triggers are not those of a trail: {', '.join(strange)}.")
        self.head = read_head(connection, self.keys)
        if self.head is None:
            self.findings.add("head", "The signed head is missing, altered, or signed with a key that is not here.")
        cuts = read_cuts(connection, self.keys)
        trail = self._trail(connection, cuts)
        if trail is None:
            return
        base, before = self._check_cuts(trail, cuts)
        last = self._check_rows(connection, trail, base, before)
        if self.head is not None and self.head.trail == trail:
            self._check_tail(self.head, last, base, before)
        kept = {sequence: anchor.hash for sequence, anchor in kept_anchors(connection, self.keys).items() if anchor}
        ends = {cut.last: cut.hash for cut in cuts.values() if cut}
        self._check_anchors(trail, max(last, base), base, {**kept, **ends})

    def _trail(self, connection: sqlite3.Connection, cuts: Mapping[int, Cut | None]) -> str | None:
        """Name of the trail, which is part of every hash: as something signed has it, else as the rows prove it."""
        known = [self.head, *cuts.values(), *self.anchors.values()]
        signed = next((record.trail for record in known if record), None)
        if signed:
            return signed
        name = unsigned_trail(connection)
        if name and any(row.state(self.keys, name) == "genuine" for row in rows(connection, limit=_ROWS_TO_PROVE)):
            return name
        self.notes.append("the rows, because nothing says which trail they belong to: give an anchor of it.")
        return None

    def _check_cuts(self, trail: str, cuts: Mapping[int, Cut | None]) -> tuple[int, bytes]:
        """Proofs of prunings, in order; returns where the rows must begin: last pruned row and its hash."""
        base, before = 0, START
        for number, cut in cuts.items():
            if cut is None or cut.trail != trail or cut.last != number:
                self.findings.add("cut", f"The proof of the pruning up to row {number} does not hold.")
                continue
            if cut.first != base + 1:
                self.findings.rows("missing", base + 1, cut.first - 1)
            self.pruned += cut.count
            base, before = cut.last, bytes.fromhex(cut.hash)
        return base, before

    def _check_rows(self, connection: sqlite3.Connection, trail: str, base: int, before: bytes | None) -> int:
        """Every row; returns the last sequence number."""
        end = self.head.sequence if self.head else None
        wanted = {anchor.sequence for anchor in self.anchors.values()} | {end}
        last = base
        for row in rows(connection):
            self.rows += 1
            if row.sequence <= base:
                self.findings.rows("inserted", row.sequence, row.sequence)
                continue
            if row.sequence > last + 1:
                self.findings.rows("missing", last + 1, row.sequence - 1)
                before = None
            before = self._check_row(row, trail, before, end)
            last = row.sequence
            if last in wanted and before is not None:
                self._hashes[last] = before.hex()
        return last

    def _check_row(self, row: Row, trail: str, before: bytes | None, end: int | None) -> bytes | None:
        """One row after the hash ``before``, None where that is not known; returns its own hash if it is genuine."""
        number = row.sequence
        if end is not None and number > end:
            self.findings.rows("inserted", number, number)
            return None
        state = row.state(self.keys, trail)
        if state != "genuine":
            self.findings.rows(state, number, number)
            return None
        if before is not None and not row.follows(trail, before):
            self.findings.rows("spliced", number, number)
        return row.hash

    def _check_tail(self, head: Head, last: int, base: int, before: bytes) -> None:
        if last < head.sequence:
            self.findings.rows("missing", last + 1, head.sequence)
        found = before.hex() if head.sequence == base else self._hashes.get(head.sequence)
        if found is not None and found != head.hash:
            self.findings.add("head", f"Row {head.sequence} is not the one that the signed head names.")

    def _check_anchors(self, trail: str, last: int, base: int, kept: Mapping[int, str]) -> None:
        held = base
        for name, anchor in sorted(self.anchors.items(), key=lambda item: item[1].sequence):
            number = anchor.sequence
            if anchor.trail != trail:
                self.findings.add("anchor", f"{name} belongs to another trail: the file was replaced by a new one.")
            elif number > last:
                text = f"the trail ends before the anchor {name} of {anchor.time}: an older copy, or its tail was cut"
                self.findings.rows("missing", last + 1, number, text)
            elif number <= base:
                self._check_old_anchor(name, anchor, kept)
            elif number not in self._hashes:
                self.notes.append(f"{name}: row {number} is not genuine, so there is nothing to compare.")
            elif self._hashes[number] != anchor.hash:
                text = f"the anchor {name} of {anchor.time} names another row {number}: an older copy was continued"
                self.findings.rows("rewritten", held + 1, number, text)
            else:
                held = number

    def _check_old_anchor(self, name: str, anchor: Anchor, kept: Mapping[int, str]) -> None:
        """An anchor of a row that was pruned: against the cut, or the trail's own copy of the anchor."""
        if anchor.sequence == 0:
            return
        if anchor.sequence not in kept:
            self.notes.append(f"{name}: row {anchor.sequence} was pruned, and the trail kept no copy of this anchor.")
        elif kept[anchor.sequence] != anchor.hash:
            text = f"the anchor {name} of {anchor.time} names another row than the one that was pruned"
            self.findings.rows("rewritten", 1, anchor.sequence, text)
