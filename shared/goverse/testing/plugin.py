"""The pytest plugin with the fixture ``goverse_host``; pytest loads it through the entry point ``goverse``.

With ``pytest-asyncio``, the fixture also stops hosts that a test started with ``await host.start()``. Without it, use
the host in ``async with``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from goverse.testing.host import ObjectHost


def pytest_configure(config: pytest.Config) -> None:
    """Register the fixture in the form that fits the other plugins."""
    plugins = config.pluginmanager
    fixtures: Any = ModuleType("goverse.testing.fixtures")
    if plugins.has_plugin("asyncio") or plugins.has_plugin("pytest_asyncio.plugin"):
        import pytest_asyncio  # noqa: PLC0415 - installed, because it is registered as a plugin

        fixtures.goverse_host = pytest_asyncio.fixture(_stopping, name="goverse_host")
    else:
        fixtures.goverse_host = pytest.fixture(_plain, name="goverse_host")
    plugins.register(fixtures, "goverse-fixtures")


async def _stopping() -> AsyncIterator[type[ObjectHost]]:
    """``goverse.testing.ObjectHost``: runs object types inside the test; started hosts are stopped at its end."""
    started: list[ObjectHost] = []
    yield _tracked(started)
    for host in reversed(started):
        await host.stop()


def _plain() -> type[ObjectHost]:
    """``goverse.testing.ObjectHost``: runs object types inside the test; use it in ``async with``."""
    return _tracked([])


def _tracked(started: list[ObjectHost]) -> type[ObjectHost]:
    from goverse.testing.host import ObjectHost  # noqa: PLC0415 - imported late, so that other test runs start fast

    class Host(ObjectHost):
        async def start(self) -> Self:
            started.append(self)
            return await super().start()

    Host.__name__ = Host.__qualname__ = ObjectHost.__name__
    return Host
