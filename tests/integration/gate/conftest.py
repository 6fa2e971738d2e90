"""A gate on a real socket for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gate.serving import Serving, serving


@pytest.fixture
async def gate() -> AsyncIterator[Serving]:
    """Serve the test objects with default options."""
    async with serving() as served:
        yield served
