"""What the tests of the node share."""

import pytest

from tests.nodes import Meeting


@pytest.fixture
def meeting(request: pytest.FixtureRequest) -> Meeting:
    """A fresh place to meet, also where the module's objects look for it."""
    place = Meeting()
    request.module.PLACE = place
    return place
