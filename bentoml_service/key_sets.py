"""Secret keys of one purpose, the active one first, and how they are written down."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cxr_core.errors import CxrError

__all__ = [
    "KEY_BYTES",
    "KEY_ID",
    "PURPOSES",
    "KeySet",
    "SecretKey",
    "decode_key",
    "encode_key",
    "new_key_id",
    "parse_keys",
]

KEY_BYTES = 32  # AES-256, and the block of HMAC-SHA-256 takes as many (RFC 2104)
KEY_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PURPOSES = ("encryption", "audit", "pseudonym")


@dataclass(frozen=True)
class SecretKey:
    """One key.

    Attributes:
        id: its name, which may be shown.
        value: 32 random bytes; never shown.
        created: when it was made (UTC); None where that is not known.
    """

    id: str
    value: bytes = field(repr=False)
    created: datetime | None = None


class KeySet:
    """The keys of one purpose as they are now.

    Args:
        purpose: ``encryption``, ``audit`` or ``pseudonym``.
        read: gives the keys, the active one first; called at each use, so that a rotation needs no restart.
    """

    def __init__(self, purpose: str, read: Callable[[], tuple[SecretKey, ...]]) -> None:
        self.purpose = purpose
        self._read = read

    def __repr__(self) -> str:
        return f"KeySet({self.purpose!r}, {[key.id for key in self._read()]})"

    @property
    def active(self) -> SecretKey:
        """The key for what is written from now on."""
        return self._read()[0]

    def as_now(self) -> KeySet:
        """The same keys, without looking for changes: for long work."""
        keys = self._read()
        return KeySet(self.purpose, lambda: keys)

    @property
    def all(self) -> tuple[SecretKey, ...]:
        """Every key, the active one first."""
        return self._read()

    def find(self, key_id: str) -> SecretKey | None:
        """The key of that name, or None."""
        return next((key for key in self._read() if key.id == key_id), None)


def parse_keys(text: str, name: str) -> tuple[SecretKey, ...]:
    """Keys of an environment variable: ``id:base64,id:base64``, the active one first.

    Raises:
        CxrError: names the variable, and shows nothing of its content.
    """
    found = []
    for part in text.split(","):
        key_id, _, encoded = part.strip().partition(":")
        if not re.fullmatch(KEY_ID, key_id):
            raise CxrError(f"{name} must read id:base64,id:base64 with ids of letters, digits, dots, dashes.")
        found.append(SecretKey(key_id, decode_key(encoded, name)))
    if len({key.id for key in found}) < len(found):
        raise CxrError(f"{name} has two keys of one id: give each its own.")
    return tuple(found)


def decode_key(encoded: str, name: str) -> bytes:
    """32 bytes from base64, standard or URL-safe, with or without padding.

    Raises:
        CxrError: names ``name``, and shows nothing of the text.
    """
    text = encoded.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != KEY_BYTES:
        raise CxrError(f"{name} has a key that is not 32 bytes in base64: make one with `openssl rand -base64 32`.")
    return value


def encode_key(value: bytes) -> str:
    """Base64 of a key."""
    return base64.b64encode(value).decode()


def new_key_id(now: datetime, taken: set[str]) -> str:
    """A name for a new key: its day, with a number where that is taken."""
    day = f"k{now.astimezone(UTC):%Y%m%d}"
    names = [day, *(f"{day}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
