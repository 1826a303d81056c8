"""Make, fill, attack and verify real audit trails."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bentoml_service.audit_anchors import make_anchor
from bentoml_service.audit_chain import Anchor
from bentoml_service.audit_log import AuditEvent, AuditTrail
from bentoml_service.audit_store import AuditStore
from bentoml_service.audit_verify import Report, verify_trail
from bentoml_service.secret_keys import Secrets
from cxr_core.settings_service import AuditSettings

FAST = AuditSettings(fsync="off")


def event(number: int = 0, **changes: object) -> AuditEvent:
    values = {"key_id": "ward-3", "role": "technician", "method": "POST", "route": "/predict", "status": 200}
    return AuditEvent(request_id=f"request-{number}", **{**values, **changes})  # type: ignore[arg-type]


def fill(path: Path, secrets: Secrets, count: int, first: int = 0) -> list[int]:
    """Append ``count`` rows with a trail of its own; returns their sequence numbers."""
    trail = AuditTrail(path, secrets, FAST)
    trail.open()

    async def record() -> list[int]:
        return list(await asyncio.gather(*(trail.record(event(first + n)) for n in range(count))))

    try:
        return asyncio.run(record())
    finally:
        trail.close()


def check(path: Path, secrets: Secrets, **anchors: Anchor | None) -> Report:
    return verify_trail(path, secrets.audit, anchors)


def found(report: Report) -> list[tuple[str, int | None, int | None]]:
    return [(finding.code, finding.first, finding.last) for finding in report.findings]


def attack(path: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    """Change the file behind the service's back."""
    with closing(sqlite3.connect(path)) as connection:
        change(connection)
        connection.commit()


def anchor_of(path: Path, secrets: Secrets) -> bytes:
    store = AuditStore(path, None, secrets.audit, durable=False, seen=None)
    try:
        return make_anchor(store, secrets.audit)
    finally:
        store.close()


def copy(source: Path, target: Path) -> Path:
    """A copy of a trail that nobody has open."""
    assert not source.with_name(f"{source.name}-wal").exists()
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(source.read_bytes())
    return target


def raw_rows(path: Path) -> Iterator[tuple[int, int, bytes, bytes, str, bytes]]:
    with closing(sqlite3.connect(path)) as connection:
        yield from connection.execute("SELECT * FROM entries ORDER BY sequence").fetchall()
