"""Fixtures of the node's tests."""

import pytest

from tests.loop_time import LoopTime
from tests.nodes import Meeting


@pytest.fixture
async def loop_time(monkeypatch: pytest.MonkeyPatch) -> LoopTime:
    """The virtual time of the test's loop. Nodes that are created from now on use it."""
    return LoopTime(monkeypatch)


@pytest.fixture
def meeting(request: pytest.FixtureRequest) -> Meeting:
    """A new ``Meeting``, also stored where the objects of the test module read it."""
    place = Meeting()
    request.module.PLACE = place
    return place
