"""The keys of a running service: whose key a request carries, and which role it gives."""

from __future__ import annotations

import hmac
import stat
from dataclasses import dataclass
from pathlib import Path

from bentoml_service.followed import Followed
from bentoml_service.key_entries import KeyEntry, create_key, key_file, read_keys, revoke_key, rotate_key
from bentoml_service.permissions import Role
from cxr_core.digests import digest_bytes
from cxr_core.errors import CxrError

__all__ = ["Holder", "KeyEntry", "KeyRing", "create_key", "key_file", "read_keys", "revoke_key", "rotate_key"]


@dataclass(frozen=True)
class Holder:
    """Whose key a request carries: the ``id`` of the key and the ``role`` that it gives."""

    id: str
    role: Role


class KeyRing:
    """The keys of a running service; the file is read again whenever it changes.

    A file that is gone or damaged while the service runs opens nothing: every key is refused until it is mended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        nothing: tuple[KeyEntry, ...] = ()
        self._entries = Followed(path, read_keys, nothing, failed=lambda _: nothing)

    def require_some(self) -> None:
        """Refuse to run without a key that works, or with a key file in which anybody could put one.

        Raises:
            CxrError: no key is configured or none works any more, the file is damaged, or every user may write it.
        """
        entries = read_keys(self.path)
        if not any(entry.state() == "active" for entry in entries):
            none = "Every API key is expired or revoked" if entries else "No API key is configured"
            raise CxrError(
                f"{none} in {self.path}: create one with "
                "`cxr keys create --id NAME`, or set CXR_API_KEYS to the file that has them."
            )
        if self.path.stat().st_mode & stat.S_IWOTH:
            raise CxrError(f"Every user may write {self.path} and so give himself a key: run chmod 600 on it.")

    def holder(self, key: str) -> Holder | None:
        """Who holds ``key`` now, or ``None``; compares with every entry, whichever fits: time tells nothing."""
        digest = digest_bytes(key.encode("latin-1", "replace"))
        found = None
        for entry in self._entries.current():
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        return Holder(found.id, found.role) if found is not None and found.state() == "active" else None
