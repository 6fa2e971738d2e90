"""Images that all tests of a run share, because they take minutes to build."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.engine import Engine, engine
from tests.deploy.images import build_all


@pytest.fixture(scope="session")
def containers() -> Iterator[Engine]:
    """podman and buildah with a separate storage."""
    with engine() as made:
        yield made


@pytest.fixture(scope="session")
def images(containers: Engine) -> dict[str, str]:
    """All images of this tree, by name."""
    return build_all(containers)
