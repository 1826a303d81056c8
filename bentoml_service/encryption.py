"""Encryption at rest: everything that the service keeps of a request is sealed with AES-256-GCM.

A sealed value is ``version (1 byte) | length of the key id (1) | key id | nonce (12) | ciphertext and tag (16)``. The
part before the ciphertext and the caller's context are authenticated with it (NIST SP 800-38D), so a value that is
moved to another place, or whose key id is changed, does not open.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cxr_core.errors import CxrError

if TYPE_CHECKING:
    from bentoml_service.secret_keys import KeySet, SecretKey

__all__ = ["CannotOpen", "Cipher"]

_VERSION = 1
# Random nonces of 96 bits are good for 2**32 values under one key (SP 800-38D, 8.3): 68 years at 2 values a second.
_NONCE_BYTES = 12
_TAG_BYTES = 16


class CannotOpen(CxrError):
    """A sealed value that was altered, moved to another context, or whose key is not here."""


class Cipher:
    """Seals with the active encryption key and opens with any key that is still there.

    Args:
        keys: the encryption keys; see :class:`bentoml_service.secret_keys.KeySet`.
    """

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self._made: dict[SecretKey, AESGCM] = {}

    def __repr__(self) -> str:
        return "Cipher(...)"

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt and authenticate.

        Args:
            plain: any bytes.
            context: what the value is and where it belongs (``audit:3f...:17``); needed again to open it.

        Returns:
            The sealed value, 30 bytes and the key's id longer than ``plain``.
        """
        key = self._keys.active
        name = key.id.encode()
        header = bytes((_VERSION, len(name))) + name + os.urandom(_NONCE_BYTES)
        return header + self._aes(key).encrypt(header[-_NONCE_BYTES:], plain, header + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what :meth:`seal` made in the same context.

        Raises:
            CannotOpen: altered, another context, or no such key.
        """
        key_id, start = _header(sealed)
        key = self._keys.find(key_id)
        if key is None:
            raise CannotOpen(f"The encryption key {key_id} is not among the secrets: add it to them again.")
        header = sealed[:start]
        try:
            return self._aes(key).decrypt(header[-_NONCE_BYTES:], sealed[start:], header + context.encode())
        except InvalidTag:
            raise CannotOpen("A sealed value was altered, or belongs elsewhere: restore it from a backup.") from None

    def reseal(self, sealed: bytes, context: str) -> bytes:
        """The same value under the active key; unchanged where that is its key already.

        Raises:
            CannotOpen: as :meth:`open`.
        """
        plain = self.open(sealed, context)
        return sealed if _header(sealed)[0] == self._keys.active.id else self.seal(plain, context)

    def _aes(self, key: SecretKey) -> AESGCM:
        if (made := self._made.get(key)) is None:
            made = self._made[key] = AESGCM(key.value)
        return made


def _header(sealed: bytes) -> tuple[str, int]:
    """Key id, and where the ciphertext starts."""
    start = 2 + sealed[1] + _NONCE_BYTES if len(sealed) > 1 else 0
    name = sealed[2 : start - _NONCE_BYTES]
    if not start or sealed[0] != _VERSION or len(sealed) < start + _TAG_BYTES or not name.isascii():
        raise CannotOpen("A sealed value is not one of this service: restore it from a backup.")
    return name.decode("ascii"), start
