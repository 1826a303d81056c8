"""How many requests a key may make, and how many failed authentications a client address, counted over all workers.

Sliding windows of the ``limits`` package. With the default, local storage a call takes about 0.1 ms and may be made
from the event loop; with a remote one (``service.rate_storage``) it waits for the network and belongs in a thread: see
:attr:`RateLimiter.blocking`. A storage that fails never stops the service: this process then counts on its own.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
import time
from typing import cast

from limits import RateLimitItem, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import SlidingWindowCounterSupport, Storage, storage_from_string

from bentoml_service.rate_storage import SqliteStorage, sqlite_uri
from cxr_core.errors import CxrError
from cxr_core.settings_service import ServiceSettings

__all__ = ["RateLimiter"]

_RETRY = 5.0  # seconds that a storage which failed is left alone
_SITE_BITS = 64  # of an IPv6 address: what one client gets to choose freely is below it (RFC 6177)

_logger = logging.getLogger("cxr.service")


class RateLimiter:
    """Limits of one process, shared with the others through their storage; safe to call from several threads.

    Args:
        settings: ``rate_limit``, ``failure_limit``, ``rate_storage``, ``state_dir``.
        address_key: secret under which client addresses are hashed, the same for all workers. Without one a random key
            is used, and each process counts failed authentications on its own.

    Attributes:
        blocking: whether a call waits for the network, and so must not be made from the event loop.

    Raises:
        CxrError: a limit or storage that is none, or a file that cannot be made.
    """

    def __init__(self, settings: ServiceSettings, address_key: bytes | None = None) -> None:
        self._requests = _limits("rate_limit", settings.rate_limit)
        self._failures = _limits("failure_limit", settings.failure_limit)
        self._address_key = address_key or secrets.token_bytes(32)
        self._storage = _storage(settings)
        self.blocking = not isinstance(self._storage, SqliteStorage)
        self._own = SqliteStorage(sqlite_uri(None))  # counts while the storage fails
        self._lock = threading.Lock()
        self._failed_at: float | None = None

    def spend(self, key_id: str, cost: int = 1) -> float | None:
        """Count a request of a key.

        Args:
            key_id: id of the key, not the key.
            cost: what it counts for: the number of films. One request may always take a whole, empty window.

        Returns:
            ``None``: go on; else seconds, above 0, after which it would be let through.
        """
        return self._take(self._requests, "key", key_id, cost)

    def strike(self, client: str) -> float | None:
        """Count a failed authentication of a client address; returns what :meth:`barred` would say now."""
        name = self._hidden(client)
        refused = self._take(self._failures, "address", name, 1)
        return refused if refused is not None else self._wait(self._failures, "address", name, 1)

    def barred(self, client: str) -> float | None:
        """Whether a client address has failed too often, to be asked before its key is looked at.

        Returns:
            ``None``: go on; else seconds, above 0, to wait. Asking counts for nothing.
        """
        return self._wait(self._failures, "address", self._hidden(client), 1)

    def close(self) -> None:
        """Close the files."""
        for storage in (self._storage, self._own):
            if isinstance(storage, SqliteStorage):
                storage.close()

    def _take(self, items: list[RateLimitItem], kind: str, name: str, cost: int) -> float | None:
        if len(items) > 1 and (wait := self._wait(items, kind, name, cost)) is not None:
            return wait  # what one limit refuses does not use up the others
        waits = []
        for item in items:
            if not self._acquire(item, item.key_for(kind, name), min(cost, item.amount)):
                waits.append(self._seconds(item, item.key_for(kind, name), min(cost, item.amount)) or 1.0)
        return max(waits, default=None)

    def _wait(self, items: list[RateLimitItem], kind: str, name: str, cost: int) -> float | None:
        waits = [self._seconds(item, item.key_for(kind, name), min(cost, item.amount)) for item in items]
        return max((wait for wait in waits if wait is not None), default=None)

    def _acquire(self, item: RateLimitItem, name: str, cost: int) -> bool:
        given = (name, item.amount, item.get_expiry(), cost)
        if (storage := self._working()) is not None:
            try:
                return storage.acquire_sliding_window_entry(*given)
            except StorageError as error:
                self._fail(error)
        return self._own.acquire_sliding_window_entry(*given)

    def _seconds(self, item: RateLimitItem, name: str, cost: int) -> float | None:
        """Seconds until the sliding window has room for ``cost``; ``None`` when it has."""
        span = item.get_expiry()
        window = None
        if (storage := self._working()) is not None:
            try:
                window = storage.get_sliding_window(name, span)
            except StorageError as error:
                self._fail(error)
        previous, previous_left, current, current_left = window or self._own.get_sliding_window(name, span)
        room = item.amount - cost + 1  # the weighted count must stay below it
        if previous * previous_left / span + current < room:
            return None
        this_ends = current_left % span or span
        if current < room:  # enough of the previous window will have slid out before this one ends
            return max(previous_left - (room - current) * span / previous, 0.001)
        return this_ends + span * (1 - room / current) + 0.001

    def _working(self) -> SlidingWindowCounterSupport | None:
        with self._lock:
            if self._failed_at is not None and time.monotonic() < self._failed_at + _RETRY:
                return None
            return cast(SlidingWindowCounterSupport, self._storage)

    def _fail(self, error: StorageError) -> None:
        with self._lock:
            self._failed_at = time.monotonic()
        kind = type(error.storage_error).__name__  # its text may hold a password
        _logger.error("The storage of the rate limits failed (%s): each worker counts on its own for a while.", kind)

    def _hidden(self, client: str) -> str:
        """A client address as the storage knows it: an HMAC-SHA-256 (RFC 2104) of the address or its IPv6 network."""
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            site = client
        else:
            address = getattr(address, "ipv4_mapped", None) or address
            bits = _SITE_BITS if address.version == 6 else 32
            site = str(ipaddress.ip_network((address, bits), strict=False))
        return hmac.digest(self._address_key, b"cxr-client\0" + site.encode(), hashlib.sha256).hex()[:32]


def _limits(field: str, text: str) -> list[RateLimitItem]:
    try:
        items = parse_many(text)
    except ValueError as error:
        raise CxrError(
            f"Setting service.{field} is no limit: write it as 120/minute or 10/second;300/minute."
        ) from error
    if any(item.amount < 1 or item.get_expiry() < 1 for item in items):
        raise CxrError(f"Setting service.{field} lets nothing through: give 1 or more in 1 second or more.")
    return items


def _storage(settings: ServiceSettings) -> Storage:
    if not settings.rate_storage:
        if settings.state_dir is None:
            raise CxrError("Setting service.state_dir is not set: load the settings with load_settings.")
        return SqliteStorage(sqlite_uri(settings.state_dir / "limits.sqlite"), wrap_exceptions=True)
    try:
        storage = storage_from_string(settings.rate_storage, wrap_exceptions=True)
    except (ConfigurationError, ValueError, ImportError) as error:  # without the address: it may hold a password
        raise CxrError(
            "Setting service.rate_storage cannot be used: give a URI of the limits package such as redis://HOST:6379 "
            "and install what it needs, or leave it empty."
        ) from error
    if not isinstance(storage, Storage) or not isinstance(storage, SlidingWindowCounterSupport):
        raise CxrError("Setting service.rate_storage names an async+ storage: give the same URI without async+.")
    return storage
