"""What makes the audit trail tamper-evident: how rows, head, anchors and prunings are hashed and signed.

Each row is sealed; its hash covers the row and the hash before it; its mark is an HMAC over row and hash, so that a
row proves itself even where its neighbours were altered. The head (last sequence number and hash) is signed too, which
is what finds a cut tail; an old copy of the whole file is found against an anchor kept elsewhere (TRAPS 19). Whoever
has an audit key can forge a trail, whoever has none cannot: tamper-evident, never more than that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

from bentoml_service.key_sets import KeySet, SecretKey

__all__ = ["START", "Anchor", "Cut", "Head", "Row", "Signed", "hash_row", "mark_row", "row_context", "sign", "verify"]

START = bytes(32)  # the hash before the first row


@dataclass(frozen=True)
class Row:
    """One row as it is stored.

    Attributes:
        sequence: 1, 2, 3...; never used twice.
        time: microseconds since 1970, UTC.
        sealed: the encrypted event.
        hash: SHA-256 over trail, previous hash, sequence, time and sealed event; 32 bytes.
        key_id: audit key of the mark.
        mark: HMAC-SHA-256 over trail, row and hash; 32 bytes.
    """

    sequence: int
    time: int
    sealed: bytes
    hash: bytes
    key_id: str
    mark: bytes

    def state(self, keys: KeySet, trail: str) -> Literal["genuine", "altered", "unknown_key"]:
        """Whether the mark proves the row, whatever its neighbours are."""
        whole = isinstance(self.sequence, int) and isinstance(self.time, int) and isinstance(self.key_id, str)
        if not whole or not all(isinstance(value, bytes) for value in (self.sealed, self.hash, self.mark)):
            return "altered"  # SQLite keeps a value of any type in any column
        if (key := keys.find(self.key_id)) is None:
            return "unknown_key"
        expected = mark_row(key, trail, self.sequence, self.time, self.sealed, self.hash)
        return "genuine" if hmac.compare_digest(expected, self.mark) else "altered"

    def follows(self, trail: str, before: bytes) -> bool:
        """Whether the hash continues the chain from the hash ``before``."""
        return self.hash == hash_row(trail, before, self.sequence, self.time, self.sealed)


@dataclass(frozen=True)
class Head:
    """The signed end of the trail. ``trail`` is its random name, ``hash`` that of row ``sequence``, in hexadecimal."""

    trail: str
    sequence: int
    hash: str


@dataclass(frozen=True)
class Anchor:
    """A signed copy of the head, to be kept elsewhere; ``time`` is when it was made (ISO 8601, UTC)."""

    trail: str
    sequence: int
    hash: str
    time: str


@dataclass(frozen=True)
class Cut:
    """Proof of one pruning.

    Attributes:
        trail: name of the trail.
        first: sequence number of the first row removed.
        last: of the last one.
        count: how many there were.
        hash: hash of row ``last``, where the rest of the chain begins; hexadecimal.
        time: when they were removed (ISO 8601, UTC).
        retention_days: the setting at that time.
    """

    trail: str
    first: int
    last: int
    count: int
    hash: str
    time: str
    retention_days: int


@dataclass(frozen=True)
class Signed:
    """A record's JSON text, the id of the key that signed it, and the signature in hexadecimal."""

    text: str
    key_id: str
    mac: str


Record = TypeVar("Record", Head, Anchor, Cut)


def row_context(trail: str, sequence: int) -> str:
    """Where a sealed event belongs: it opens in no other row and no other trail."""
    return f"audit:{trail}:{sequence}"


def hash_row(trail: str, before: bytes, sequence: int, time: int, sealed: bytes) -> bytes:
    """SHA-256 that chains a row to the one before; every part but the last has a fixed length."""
    digest = hashlib.sha256(b"cxr-audit-row-1\0" + bytes.fromhex(trail) + before)
    digest.update(sequence.to_bytes(8, "big", signed=True) + time.to_bytes(8, "big", signed=True))
    digest.update(sealed)
    return digest.digest()


def mark_row(key: SecretKey, trail: str, sequence: int, time: int, sealed: bytes, row_hash: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) by which a row proves itself without its neighbours."""
    fixed = bytes.fromhex(trail) + row_hash + sequence.to_bytes(8, "big", signed=True)
    message = b"cxr-audit-mark-1\0" + fixed + time.to_bytes(8, "big", signed=True) + sealed
    return hmac.digest(key.value, message, "sha256")


def sign(key: SecretKey, record: Head | Anchor | Cut) -> Signed:
    """Sign a record; its kind is part of what is signed, so that none passes for another."""
    text = json.dumps(asdict(record), sort_keys=True)
    return Signed(text, key.id, _mac(key, type(record).__name__, text))


def verify(keys: KeySet, kind: type[Record], signed: Signed) -> Record | None:
    """The record, if its signature holds under the key that it names; else None, also where that key is not here."""
    if not all(isinstance(part, str) for part in (signed.text, signed.key_id, signed.mac)):
        return None  # SQLite keeps a value of any type in any column
    key = keys.find(signed.key_id)
    if key is None or not hmac.compare_digest(
        _mac(key, kind.__name__, signed.text).encode(), signed.mac.encode("utf-8", "surrogatepass")
    ):
        return None
    return kind(**json.loads(signed.text))


def _mac(key: SecretKey, kind: str, text: str) -> str:
    message = f"cxr-audit-{kind.lower()}-1\0".encode() + text.encode("utf-8", "surrogatepass")
    return hmac.digest(key.value, message, "sha256").hex()
