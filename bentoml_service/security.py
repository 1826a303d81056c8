"""API keys: only their SHA-256 is stored, and there is no default key.

A key is 256 random bits, so nobody can try them all and a plain digest is enough; the slow, salted digests of
passwords answer a weakness that such keys do not have.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError, explain_os_errors
from cxr_core.settings import project_root

__all__ = ["KeyEntry", "KeyRing", "create_key", "key_file", "read_keys", "revoke_key"]

_KEY_BYTES = 32  # 256 bits, as many as the digest has
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_logger = logging.getLogger("cxr.service")


class KeyEntry(BaseModel):
    """One line of the key file: who holds the key, its SHA-256, when it was made (UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=rf"^{_ID.pattern}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: datetime


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


def create_key(path: Path, key_id: str) -> str:
    """Make a key, store its digest and return the key: it cannot be read again.

    Raises:
        CxrError: the id is taken or is not 1-64 letters, digits, dots, dashes, underscores.
    """
    if not _ID.fullmatch(key_id):
        raise CxrError("An id has 1-64 letters, digits, dots, dashes or underscores and starts with a letter or digit.")
    key = secrets.token_urlsafe(_KEY_BYTES)
    with _locked(path):
        entries = read_keys(path)
        if any(entry.id == key_id for entry in entries):
            raise CxrError(f"{path} has a key {key_id} already: revoke it first, or choose another id.")
        made = KeyEntry(id=key_id, sha256=digest_bytes(key.encode()), created=datetime.now(UTC).replace(microsecond=0))
        _write(path, (*entries, made))
    return key


def revoke_key(path: Path, key_id: str) -> None:
    """Remove a key; running services refuse it from their next request on.

    Raises:
        CxrError: there is no such key.
    """
    with _locked(path):
        entries = read_keys(path)
        kept = tuple(entry for entry in entries if entry.id != key_id)
        if len(kept) == len(entries):
            raise CxrError(f"{path} has no key {key_id}: see the list of keys.")
        _write(path, kept)


def _write(path: Path, entries: tuple[KeyEntry, ...]) -> None:
    from cxr_core.store import write_atomically  # brings pandas, which the running service does not need

    values = _ENTRIES.dump_python(entries, mode="json")
    write_atomically(path, json.dumps(values, indent=1).encode())
    path.chmod(0o600)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep two commands from losing each other's change; the lock file stays behind, empty."""
    with explain_os_errors(path, "writing the API keys"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class KeyRing:
    """The keys of a running service; the file is read again whenever it changes.

    A file that is gone or damaged while the service runs opens nothing: every key is refused until it is mended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._entries: tuple[KeyEntry, ...] = ()

    def require_some(self) -> None:
        """Refuse to run without a key.

        Raises:
            CxrError: no key is configured, or the file is damaged.
        """
        if not read_keys(self.path):
            raise CxrError(
                f"No API key is configured in {self.path}: create one with "
                "`cxr keys create --id NAME`, or set CXR_API_KEYS to the file that has them."
            )

    def holder(self, key: str) -> str | None:
        """Id of the key's entry, or ``None``; takes the same time whichever entry fits."""
        digest = digest_bytes(key.encode("latin-1", "replace"))
        found = None
        for entry in self._current():
            if hmac.compare_digest(entry.sha256, digest):
                found = entry.id
        return found

    def _current(self) -> tuple[KeyEntry, ...]:
        with self._lock:
            seen = self._stamp()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._entries = read_keys(self.path)
                except CxrError as error:
                    self._entries = ()
                    _logger.error("%s", error)
            return self._entries

    def _stamp(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            return ()
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
