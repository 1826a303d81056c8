"""The service's own secrets: keys of the encryption, of the audit trail's signatures and of the patient pseudonyms.

They come from a file that only the service's user may read (``CXR_SECRETS``, default ``data/service-secrets.json``) or
from the environment; there is no default key. In each set the first key is the active one. Older ones stay, because
what they sealed or signed is opened and verified for as long as it is kept.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
from dataclasses import dataclass

from bentoml_service.encryption import Cipher
from bentoml_service.key_sets import KeySet, SecretKey, parse_keys
from bentoml_service.secret_file import (
    VARIABLES,
    FollowedFile,
    create_secrets,
    read_secrets,
    rotate_secret,
    secrets_file,
)

__all__ = [
    "Secrets",
    "create_secrets",
    "load_key_set",
    "load_secrets",
    "read_secrets",
    "require_secrets",
    "rotate_secret",
    "secrets_file",
]

_PSEUDONYM_DIGITS = 32  # hexadecimal, 128 bits: no two patients meet, and a row stays short


@dataclass(frozen=True)
class Secrets:
    """The keys of a running service. Those of a file follow it: a rotation needs no restart.

    Attributes:
        cipher: seals and opens what the service keeps.
        audit: keys that sign the audit trail.
        pseudonyms: keys of the patient pseudonyms.
    """

    cipher: Cipher
    audit: KeySet
    pseudonyms: KeySet

    def pseudonym(self, patient_id: str) -> str:
        """What the audit trail holds instead of a patient id: equal for equal ids, no way back without the key.

        Args:
            patient_id: as the client sent it; space around it and the way its accents are written do not matter.

        Returns:
            32 hexadecimal digits, an HMAC-SHA-256 (RFC 2104) under the active pseudonym key.
        """
        return _pseudonym(self.pseudonyms.active, patient_id)

    def every_pseudonym(self, patient_id: str) -> tuple[str, ...]:
        """The pseudonyms of one patient under every key, today's first: what to look for in the audit trail."""
        return tuple(_pseudonym(key, patient_id) for key in self.pseudonyms.all)


def _pseudonym(key: SecretKey, patient_id: str) -> str:
    text = unicodedata.normalize("NFC", patient_id).strip()
    message = b"cxr-patient\0" + text.encode("utf-8", "surrogatepass")
    return hmac.digest(key.value, message, "sha256").hex()[:_PSEUDONYM_DIGITS]


def load_key_set(purpose: str) -> KeySet:
    """The keys of one purpose alone, from its environment variable or the file: an auditor has no other.

    Args:
        purpose: ``encryption``, ``audit`` or ``pseudonym``.

    Raises:
        CxrError: there are none, or they are damaged.
    """
    if text := os.environ.get(VARIABLES[purpose]):
        keys = parse_keys(text, VARIABLES[purpose])
        return KeySet(purpose, lambda: keys)
    return FollowedFile(secrets_file()).key_set(purpose)


def load_secrets() -> Secrets:
    """Every secret of the service; a variable of the environment goes before the file.

    Raises:
        CxrError: there are none, or they are damaged.
    """
    file: FollowedFile | None = None
    sets = []
    for purpose, name in VARIABLES.items():
        if os.environ.get(name):
            sets.append(load_key_set(purpose))
            continue
        file = file or FollowedFile(secrets_file())
        sets.append(file.key_set(purpose))
    encryption, audit, pseudonyms = sets
    return Secrets(Cipher(encryption), audit, pseudonyms)


def require_secrets() -> None:
    """Refuse to run without secrets.

    Raises:
        CxrError: one sentence that names ``cxr secrets create``, or says what is damaged.
    """
    load_secrets()
