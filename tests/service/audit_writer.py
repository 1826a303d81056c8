"""A process that writes to an audit trail and says, after each acknowledgement, which row that was.

``python audit_writer.py PATH NAME ROWS TASKS FSYNC``; ROWS 0: until it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from pathlib import Path

from bentoml_service.audit_log import AuditEvent, AuditTrail
from bentoml_service.secret_keys import load_secrets
from cxr_core.settings_service import AuditSettings


async def write(trail: AuditTrail, name: str, rows: int, tasks: int) -> None:
    numbers = iter(range(rows)) if rows else itertools.count()

    async def one() -> None:
        for number in numbers:
            event = AuditEvent(request_id=f"{name}-{number}", route="/predict", method="POST", status=200)
            sequence = await trail.record(event)
            os.write(1, f"{sequence} {name}-{number}\n".encode())

    await asyncio.gather(*(one() for _ in range(tasks)))


def main() -> None:
    path, name, rows, tasks, fsync, *start = sys.argv[1:]
    if start:  # together with others: say that all is loaded, and wait for the word
        Path(start[0]).touch()
        while not Path(start[1]).exists():
            time.sleep(0.001)
    trail = AuditTrail(Path(path), load_secrets(), AuditSettings.model_validate({"fsync": fsync}))
    trail.open()
    asyncio.run(write(trail, name, int(rows), int(tasks)))
    trail.close()


if __name__ == "__main__":
    main()
