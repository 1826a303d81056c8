"""The file of API keys: only their SHA-256 is stored, and there is no default key.

A key is 256 random bits, so nobody can try them all and a plain digest is enough; the slow, salted digests of
passwords answer a weakness that such keys do not have. One id may have several entries: keys that were rotated work
until their overlap ends, and revoked ones stay listed, because the audit trail names keys by their id for years.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bentoml_service.permissions import ROLES, Role
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.locking import locked
from cxr_core.settings import project_root

__all__ = ["KeyEntry", "create_key", "key_file", "read_keys", "revoke_key", "rotate_key"]

_KEY_BYTES = 32  # 256 bits, as many as the digest has
_LONGEST = timedelta(days=36_500)  # life of a key that expires; far from the end of the calendar
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyEntry(BaseModel):
    """One key of the key file. Files from before there were roles load, and their keys are technicians'.

    Attributes:
        id: who holds the key.
        sha256: digest of the key, 64 hexadecimal digits.
        created: when it was made.
        role: what it may do; see ``permissions``.
        expires: from then on it is refused; ``None``: never.
        revoked: from then on it is refused, whatever ``expires`` says; ``None``: not revoked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=rf"^{_ID.pattern}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: AwareDatetime
    role: Role = "technician"
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def state(self, now: datetime | None = None) -> str:
        """``active``, ``expired`` or ``revoked``, now or at another time."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= (now or _now()) else "active"


_ENTRIES = TypeAdapter(tuple[KeyEntry, ...])


def key_file() -> Path:
    """Where the keys are: ``CXR_API_KEYS``, else ``data/api-keys.json`` of the project."""
    configured = os.environ.get("CXR_API_KEYS")
    return Path(configured).expanduser().resolve() if configured else project_root() / "data/api-keys.json"


def read_keys(path: Path) -> tuple[KeyEntry, ...]:
    """Keys of a key file; none where there is no file.

    Raises:
        CxrError: the file cannot be read or is not a key file.
    """
    try:
        with explain_os_errors(path, "reading the API keys"):
            text = path.read_bytes() if path.exists() else b"[]"
        return _ENTRIES.validate_json(text)
    except ValidationError as error:
        raise CxrError(
            f"{path} is not a file of API keys: restore it, or delete it and create the keys again."
        ) from error


def create_key(path: Path, key_id: str, role: str = "technician", expires: datetime | None = None) -> str:
    """Make a key, store its digest and return the key: it cannot be read again.

    Args:
        path: the key file; made where there is none.
        key_id: who holds the key.
        role: radiologist, technician or admin.
        expires: when the key stops working, with its time zone; ``None``: never.

    Raises:
        CxrError: the id is taken or is not 1-64 letters, digits, dots, dashes, underscores; there is no such role; the
            expiry is not within the next 100 years.
    """
    if not _ID.fullmatch(key_id):
        raise CxrError("An id has 1-64 letters, digits, dots, dashes or underscores and starts with a letter or digit.")
    with locked(path, "writing the API keys"):
        entries = read_keys(path)
        if any(entry.id == key_id and entry.revoked is None for entry in entries):
            raise CxrError(f"{path} has a key {key_id} already: rotate or revoke it, or choose another id.")
        key, made = _new(key_id, role, expires)
        _write(path, (*entries, made))
    return key


def rotate_key(path: Path, key_id: str, overlap: timedelta, expires: datetime | None = None) -> str:
    """Make a new key of the same id and role and return it; the earlier ones work until the overlap ends.

    Args:
        path: the key file.
        key_id: whose key is replaced.
        overlap: how long the earlier keys still work, 0 or more; never longer than they would have.
        expires: when the new key stops working; ``None``: after as long a life as the earlier one was given, if any.

    Raises:
        CxrError: there is no such key, or it was revoked; the overlap is negative; the expiry is not
            within the next 100 years.
    """
    if overlap < timedelta(0):
        raise CxrError("The overlap of two keys is 0 or more: give it as a duration such as 24h.")
    with locked(path, "writing the API keys"):
        entries = read_keys(path)
        earlier = [entry for entry in entries if entry.id == key_id and entry.revoked is None]
        if not earlier:
            raise CxrError(f"{path} has no key {key_id} to rotate: see the list of keys, or create one.")
        last, now = earlier[-1], _now()
        if expires is None and last.expires is not None:
            expires = now + min(max(last.expires - last.created, timedelta(seconds=1)), _LONGEST)
        key, made = _new(key_id, last.role, expires)
        ends = now + overlap
        kept = (
            entry.model_copy(update={"expires": min(entry.expires or ends, ends)}) if entry in earlier else entry
            for entry in entries
        )
        _write(path, (*kept, made))
    return key


def revoke_key(path: Path, key_id: str) -> None:
    """Refuse every key of an id from now on; running services do from their next request on.

    Raises:
        CxrError: there is no such key, or it was revoked before.
    """
    with locked(path, "writing the API keys"):
        entries = read_keys(path)
        if not any(entry.id == key_id and entry.revoked is None for entry in entries):
            raise CxrError(f"{path} has no key {key_id} to revoke: see the list of keys.")
        now = _now()
        _write(
            path,
            tuple(
                entry.model_copy(update={"revoked": now}) if entry.id == key_id and entry.revoked is None else entry
                for entry in entries
            ),
        )


def _new(key_id: str, role: str, expires: datetime | None) -> tuple[str, KeyEntry]:
    """A key that nobody has yet, and its entry."""
    if role not in ROLES:
        raise CxrError(f"There is no such role: choose one of {', '.join(ROLES)}.")
    if expires is not None and (expires.tzinfo is None or not _now() < expires <= _now() + _LONGEST):
        raise CxrError("A key expires within the next 100 years: give a time that is, with its time zone.")
    key = secrets.token_urlsafe(_KEY_BYTES)
    values = {
        "id": key_id,
        "sha256": digest_bytes(key.encode()),
        "created": _now().replace(microsecond=0),
        "role": role,
        "expires": expires,
    }
    return key, KeyEntry.model_validate(values)


def _now() -> datetime:
    return datetime.now(UTC)


def _write(path: Path, entries: tuple[KeyEntry, ...]) -> None:
    from cxr_core.store import write_atomically  # brings pandas, which the running service does not need

    values = _ENTRIES.dump_python(entries, mode="json")
    write_atomically(path, json.dumps(values, indent=1).encode())
    path.chmod(0o600)
