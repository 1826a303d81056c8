"""A pretended service for each test, and a client that does not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pretend_service import KEY, PretendService, serve

from cxr_core.client import Client, Retries

QUICK = Retries(attempts=4, lost=3, first=0.001)


@pytest.fixture
def service() -> Iterator[PretendService]:
    pretended = PretendService()
    server = serve(pretended)
    yield pretended
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(service: PretendService) -> Iterator[Client]:
    with Client(service.url, KEY, timeout=10, retries=QUICK) as opened:
        yield opened
