"""The file of the service's secrets: read, made, rotated, followed while the service runs."""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bentoml_service.followed import Followed
from bentoml_service.key_sets import (
    KEY_BYTES,
    KEY_ID,
    PURPOSES,
    KeySet,
    SecretKey,
    decode_key,
    encode_key,
    new_key_id,
)
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.locking import locked
from cxr_core.settings import project_root

__all__ = ["VARIABLES", "FollowedFile", "create_secrets", "read_secrets", "rotate_secret", "secrets_file"]

VARIABLES = {
    "encryption": "CXR_ENCRYPTION_KEYS",
    "audit": "CXR_AUDIT_KEYS",
    "pseudonym": "CXR_PSEUDONYM_KEY",
}  # of the environment, by purpose

_Keys = Mapping[str, tuple[SecretKey, ...]]

_logger = logging.getLogger("cxr.service")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=rf"^{KEY_ID}$")
    key: str = Field(repr=False)
    created: datetime | None = None


class _Content(BaseModel):
    """The file: for each purpose its keys, the active one first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encryption: tuple[_Entry, ...] = Field(min_length=1)
    audit: tuple[_Entry, ...] = Field(min_length=1)
    pseudonym: tuple[_Entry, ...] = Field(min_length=1)


def secrets_file() -> Path:
    """Where the secrets are: ``CXR_SECRETS``, else ``data/service-secrets.json`` of the project."""
    configured = os.environ.get("CXR_SECRETS")
    return Path(configured).expanduser().resolve() if configured else project_root() / "data/service-secrets.json"


def read_secrets(path: Path) -> dict[str, tuple[SecretKey, ...]]:
    """Keys of a file, by purpose.

    Raises:
        CxrError: the file is not there, cannot be read, or is no file of secrets; shows nothing of its content.
    """
    with explain_os_errors(path, "reading the service's secrets"):
        if not path.exists():
            raise CxrError(
                f"There are no service secrets in {path}: make them with `cxr secrets create`, or set CXR_SECRETS to "
                f"the file that has them, or set {', '.join(VARIABLES.values())}."
            )
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            _logger.warning("%s can be read by every user of this machine: chmod 600 it", path)
        text = path.read_bytes()
    try:
        content = _Content.model_validate_json(text)
    except ValidationError:  # without the cause: it quotes the keys
        raise CxrError(f"{path} is not a file of service secrets: restore it from a backup.") from None
    keys: dict[str, tuple[SecretKey, ...]] = {}
    for purpose in PURPOSES:
        entries: tuple[_Entry, ...] = getattr(content, purpose)
        keys[purpose] = tuple(SecretKey(item.id, decode_key(item.key, str(path)), item.created) for item in entries)
        if len({item.id for item in entries}) < len(entries):
            raise CxrError(f"{path} has two {purpose} keys of one id: give each its own.")
    return keys


def create_secrets(path: Path) -> None:
    """Make a file with one new key for each purpose, readable by this user alone.

    Raises:
        CxrError: the file is there already: without its keys nothing that they sealed can be opened.
    """
    with locked(path, "writing the service's secrets"):
        if path.exists():
            raise CxrError(f"{path} is there already: rotate a key in it, or choose another file.")
        _write(path, {purpose: (_new_key(()),) for purpose in PURPOSES})


def rotate_secret(path: Path, purpose: str) -> str:
    """Put a new active key before the others, which stay; running services use it from their next row on.

    Returns:
        Id of the new key.

    Raises:
        CxrError: no such file or purpose.
    """
    if purpose not in PURPOSES:
        raise CxrError(f"There are no {purpose} keys: choose one of {', '.join(PURPOSES)}.")
    with locked(path, "writing the service's secrets"):
        keys = read_secrets(path)
        made = _new_key(keys[purpose])
        _write(path, {**keys, purpose: (made, *keys[purpose])})
    return made.id


def _new_key(others: tuple[SecretKey, ...]) -> SecretKey:
    now = datetime.now(UTC).replace(microsecond=0)
    return SecretKey(new_key_id(now, {key.id for key in others}), secrets.token_bytes(KEY_BYTES), now)


def _write(path: Path, keys: _Keys) -> None:
    from cxr_core.store import write_atomically  # brings pandas, which the running service does not need

    content = {
        purpose: [
            {"id": key.id, "key": encode_key(key.value), "created": key.created.isoformat() if key.created else None}
            for key in keys[purpose]
        ]
        for purpose in PURPOSES
    }
    write_atomically(path, json.dumps(content, indent=1).encode())
    path.chmod(0o600)


class FollowedFile:
    """The keys of a file, read again whenever it changes; one that is gone or damaged leaves the last good ones.

    Raises:
        CxrError: as :func:`read_secrets`, when it is made.
    """

    def __init__(self, path: Path) -> None:
        remark = "The keys read before stay in use."
        self._keys = Followed(path, read_secrets, read_secrets(path), failed=lambda before: before, remark=remark)

    def key_set(self, purpose: str) -> KeySet:
        """The keys of one purpose, as the file has them at each use."""
        return KeySet(purpose, lambda: self._keys.current()[purpose])
