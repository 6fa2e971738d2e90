"""Fixture: a gate on a real socket for each test."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvloop

from goverse.telemetry.logs import change_level, current_level
from tests.gate.serving import Serving, serving


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], AbstractEventLoop]]:
    """Run the tests on uvloop, the event loop of a gate."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    """Restore the log level, which a gate can change."""
    before = current_level()
    yield
    change_level(before)


@pytest.fixture
async def gate() -> AsyncIterator[Serving]:
    """Serve the test objects with default options."""
    async with serving() as served:
        yield served
