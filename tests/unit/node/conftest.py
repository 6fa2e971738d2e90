"""What the tests of the node share."""

import pytest

from tests.loop_time import LoopTime
from tests.nodes import Meeting


@pytest.fixture
async def loop_time(monkeypatch: pytest.MonkeyPatch) -> LoopTime:
    """The time of the test's loop; nodes that are made from now on go by it."""
    return LoopTime(monkeypatch)


@pytest.fixture
def meeting(request: pytest.FixtureRequest) -> Meeting:
    """A fresh place to meet, also where the module's objects look for it."""
    place = Meeting()
    request.module.PLACE = place
    return place
